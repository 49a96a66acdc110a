/** Access tokens shaped like those of real issuers: same header, same claims, same quirks. Identifiers are made up. */

import { randomUUID } from 'node:crypto';
import type { SigningKey } from './keys.ts';
import { signJws } from './tokens.ts';

export type IssuerTokenOptions = {
  readonly issuer: string;
  readonly issuerKey: SigningKey;
  readonly audience: string | readonly string[];
  readonly nowMs: number;
  /** Members to set; undefined takes one away. */
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
};

type Claims = Readonly<Record<string, unknown>>;
type Shape = { readonly header: Claims; readonly claims: (iat: number) => Claims };

const tenant = '0b1d2f3a-0000-4000-8000-00000000000a';
const person = '7c9e6679-7425-40de-944b-e07fc1f90ae7';
const agent = 'a6b1c2d3-4444-4444-8888-0123456789ab';

/** What version 2.0 of Entra's tokens for an agent as some user have in common. */
const entraUser = (iat: number) => ({ nbf: iat, azp: agent, azpacr: '2', idtyp: 'user', tid: tenant, ver: '2.0' });

const shapes = {
  /** Keycloak 26, a user through a client, DPoP-bound when the caller adds cnf. */
  keycloakUser: {
    header: { typ: 'JWT' },
    claims: (iat) => ({
      auth_time: iat - 30,
      jti: `onrtac:${randomUUID()}`,
      sub: person,
      typ: 'Bearer',
      azp: 'agent-7',
      sid: randomUUID(),
      acr: '1',
      'allowed-origins': ['https://agent.example.com'],
      realm_access: { roles: ['default-roles-main', 'offline_access', 'reader'] },
      resource_access: { account: { roles: ['view-profile'] } },
      scope: 'openid email repo:read',
      email_verified: true,
      preferred_username: 'alice',
    }),
  },
  /** Keycloak 26, client credentials: the service account has a sub of its own. */
  keycloakClient: {
    header: { typ: 'JWT' },
    claims: () => ({
      jti: `trrtcc:${randomUUID()}`,
      sub: '2f8d3b54-9d3c-4f6a-b0a9-5d2f6f1f7a11',
      typ: 'Bearer',
      azp: 'agent-7',
      acr: '1',
      realm_access: { roles: ['reader'] },
      scope: 'profile email',
      clientHost: '10.0.0.9',
      preferred_username: 'service-account-agent-7',
      clientAddress: '10.0.0.9',
      client_id: 'agent-7',
    }),
  },
  /** Entra Agent ID, version 1.0, an agent on its own. */
  entraAutonomous: {
    header: { typ: 'JWT' },
    claims: (iat) => ({
      nbf: iat,
      aio: 'k2RgYHh2',
      appid: agent,
      appidacr: '2',
      idp: `https://sts.windows.net/${tenant}/`,
      idtyp: 'app',
      oid: agent,
      rh: '1.AAAA',
      roles: ['Items.Read.All'],
      scp: '/',
      sub: agent,
      tid: tenant,
      uti: 'm5RaaRnoFUyp2TbSCAAAAA',
      ver: '1.0',
      xms_act_fct: '3 9 11',
      xms_idrel: '7 10',
      xms_sub_fct: '9 3 11',
      xms_tnt_fct: '3 9',
      xms_par_app_azp: '30cf4c22-9985-4ef7-8756-91cc888176bd',
    }),
  },
  /** Entra Agent ID, version 2.0, an agent on behalf of a person. */
  entraOnBehalfOf: {
    header: { typ: 'JWT' },
    claims: (iat) => ({
      ...entraUser(iat),
      oid: person,
      scp: 'Items.Read Items.Write',
      sub: 'AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ',
      uti: 'q9Xc0vZ1bEuJ2Q8kAAAAAA',
      xms_act_fct: '9 11 3',
      xms_idrel: '1 10',
      xms_sub_fct: '3 1',
    }),
  },
  /** Entra Agent ID, version 2.0, an agent with a user account of its own. */
  entraAgentUser: {
    header: { typ: 'JWT' },
    claims: (iat) => ({
      ...entraUser(iat),
      oid: '11111111-2222-4333-8444-555555555555',
      scp: 'Items.Read',
      sub: 'BBBBBBBBBBBBBBBBBBBBBIkzqFVrSaSaFHy782bbtaQ',
      uti: 'z1Xc0vZ1bEuJ2Q8kAAAAAA',
      xms_act_fct: '11',
      xms_idrel: '1',
      xms_sub_fct: '3 13',
    }),
  },
  /** Auth0's own profile, client credentials: no jti, no client_id. */
  auth0Client: {
    header: { typ: 'JWT' },
    claims: () => ({
      sub: 'agent-7@clients',
      gty: 'client-credentials',
      azp: 'agent-7',
      scope: 'repo:read',
      permissions: ['repo:read'],
    }),
  },
  /** Auth0, Agents as Principal, on behalf of a person; the inner act is the client where it began. */
  auth0OnBehalfOf: {
    header: { typ: 'at+jwt' },
    claims: () => ({
      sub: 'auth0|5f7c8ec7c33c6c004bbafe82',
      client_id: 'client-of-agent',
      jti: randomUUID(),
      scope: 'repo:read repo:write',
      permissions: ['repo:read', 'repo:write'],
      act: { sub: 'agt_8HkE3vT5oWJp', act: { sub: 'web-client' } },
    }),
  },
  /** Okta custom authorization server, an agent for a person (Cross App Access). No typ at all. */
  oktaOnBehalfOf: {
    header: { typ: undefined },
    claims: (iat) => ({
      ver: 1,
      jti: 'AT.hF3jP1nq0x9mYw8zkQd7VbGmCwT2fXrA5sLhE4uKo0I',
      cid: '0oa1b2c3d4E5F6G7h8i9',
      uid: '00u1b2c3d4E5F6G7h8i9',
      scp: ['openid', 'repo:read'],
      auth_time: iat - 60,
      sub: 'alice@example.com',
      act: { sub: 'wlp8x5q7mvH86KvFJ0g7' },
    }),
  },
  /** Okta custom authorization server, client credentials: sub is the client. */
  oktaClient: {
    header: { typ: undefined },
    claims: () => ({
      ver: 1,
      jti: 'AT.aB3jP1nq0x9mYw8zkQd7VbGmCwT2fXrA5sLhE4uKo0I',
      cid: '0oa1b2c3d4E5F6G7h8i9',
      scp: ['repo:read'],
      sub: '0oa1b2c3d4E5F6G7h8i9',
    }),
  },
  /** Ory Hydra with JWT access tokens, client credentials. */
  hydraClient: {
    header: { typ: 'JWT' },
    claims: (iat) => ({
      client_id: 'agent-7',
      ext: { roles: ['reader'] },
      jti: randomUUID(),
      nbf: iat,
      scp: ['repo:read', 'offline'],
      sub: 'agent-7',
    }),
  },
  /** Ory Hydra, a person who gave consent. */
  hydraUser: {
    header: { typ: 'JWT' },
    claims: (iat) => ({ client_id: 'agent-7', ext: {}, jti: randomUUID(), nbf: iat, scp: ['repo:read'], sub: person }),
  },
  /** The RFC itself, a person who logged in. */
  rfc9068: {
    header: { typ: 'at+jwt' },
    claims: (iat) => ({
      sub: person,
      client_id: 'agent-7',
      jti: randomUUID(),
      scope: 'repo:read',
      auth_time: iat - 5,
      acr: '1',
      roles: ['reader'],
    }),
  },
} as const satisfies Readonly<Record<string, Shape>>;

export type IssuerTokenShape = keyof typeof shapes;
export const people = { person, agent };

/** A token of this shape, signed by the issuer. */
export function mintLike(shape: IssuerTokenShape, options: IssuerTokenOptions): string {
  const { issuer, issuerKey, audience, nowMs, header = {}, claims = {} } = options;
  const iat = Math.floor(nowMs / 1000);
  const like: Shape = shapes[shape];
  return signJws({
    header: { alg: issuerKey.algorithm, kid: issuerKey.kid, ...like.header, ...header },
    payload: { iss: issuer, aud: audience, iat, exp: iat + 600, ...like.claims(iat), ...claims },
    key: issuerKey,
  });
}
