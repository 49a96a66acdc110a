/**
 * What each issuer's access tokens look like, as one table. A dialect says where a token tells its client, subject,
 * scopes, roles and id, and which `typ` it has. It never loosens a check of signature, issuer, audience or times.
 */

import type { ConfigurationProblem } from '../errors.ts';
import { isJsonObject } from '../strict-json.ts';
import type { JsonObject } from './jws.ts';
import { typeOfAnotherKind } from './other-kinds.ts';

/** Names of members, outermost first. */
export type ClaimPath = readonly string[];

/** Which signs of a human, an agent or a service a dialect knows beyond those of RFC 9068 and the actor profile. */
export type SubjectSigns = 'standard' | 'keycloak' | 'entra' | 'auth0' | 'okta';

export type Dialect = {
  /** Media types of `typ`, lower case, without `application/`. The empty text stands for a token without one. */
  readonly types: ReadonlySet<string>;
  /** Values of the payload's own `typ`, lower case; null where the dialect has no such claim. */
  readonly payloadTypes: ReadonlySet<string> | null;
  /** The OAuth client, in order: the first that is there counts. So for all that follow. */
  readonly client: readonly ClaimPath[];
  /** Who presents the token where it has no `act`; null for the client. */
  readonly agent: readonly ClaimPath[] | null;
  readonly subject: readonly ClaimPath[];
  readonly isSubjectRequired: boolean;
  readonly id: readonly ClaimPath[];
  readonly isIdRequired: boolean;
  readonly scope: readonly ClaimPath[];
  /** Whether scopes may be a list besides a text with spaces. */
  readonly mayListScopes: boolean;
  /** Texts among the scopes that grant nothing. */
  readonly emptyScopes: readonly string[];
  readonly roles: readonly ClaimPath[];
  readonly signs: SubjectSigns;
};

export type DialectName = 'rfc9068' | 'keycloak' | 'entra' | 'auth0' | 'okta' | 'hydra';

/** As in the configuration. A claim is a name, a path with dots, or a URL; a list of them is in order. */
export type CustomDialect = {
  readonly typ: readonly string[];
  readonly agent: string | readonly string[];
  readonly subject?: string | readonly string[] | undefined;
  readonly scope: string | readonly string[];
  readonly roles?: string | readonly string[] | undefined;
};

const clientClaims: readonly ClaimPath[] = [['client_id'], ['azp'], ['appid'], ['cid']];

/** RFC 9068 §2: the strictest, and what the others differ from. */
const rfc9068: Dialect = {
  types: new Set(['at+jwt']),
  payloadTypes: null,
  client: [['client_id']],
  agent: null,
  subject: [['sub']],
  isSubjectRequired: true,
  id: [['jti']],
  isIdRequired: true,
  scope: [['scope']],
  mayListScopes: false,
  emptyScopes: [],
  // RFC 9068 §2.2.3.1.
  roles: [['roles']],
  signs: 'standard',
};

const dialects: Readonly<Record<DialectName, Dialect>> = {
  rfc9068,
  keycloak: {
    ...rfc9068,
    types: new Set(['jwt', 'at+jwt']),
    // Keycloak tells its kinds of token apart here: ID, Refresh, Offline and Logout are others.
    payloadTypes: new Set(['bearer', 'dpop']),
    client: [['azp'], ['client_id']],
    // A lightweight access token has none.
    isSubjectRequired: false,
    roles: [['realm_access', 'roles']],
    signs: 'keycloak',
  },
  entra: {
    ...rfc9068,
    types: new Set(['jwt']),
    // Version 2.0 tokens say azp, version 1.0 tokens appid.
    client: [['azp'], ['appid']],
    // Entra's sub is another for each application; oid is the same person or principal throughout the tenant.
    subject: [['oid'], ['sub']],
    id: [['uti'], ['jti']],
    scope: [['scp']],
    // What an application's own token may say in place of no scope.
    emptyScopes: ['/'],
    signs: 'entra',
  },
  auth0: {
    ...rfc9068,
    types: new Set(['jwt', 'at+jwt']),
    client: [['client_id'], ['azp']],
    // Only Auth0's RFC 9068 profile has a jti.
    isIdRequired: false,
    roles: [['permissions']],
    signs: 'auth0',
  },
  okta: {
    ...rfc9068,
    // Okta's custom authorization servers write no typ.
    types: new Set(['', 'jwt', 'at+jwt']),
    client: [['cid'], ['client_id']],
    scope: [['scp'], ['scope']],
    mayListScopes: true,
    roles: [['groups']],
    signs: 'okta',
  },
  hydra: {
    ...rfc9068,
    types: new Set(['jwt', 'at+jwt']),
    // Hydra's scope_claim setting decides which of the two, or both with the same content.
    scope: [['scp'], ['scope']],
    mayListScopes: true,
    roles: [['roles'], ['ext', 'roles']],
  },
};

export const strictDialect: Dialect = rfc9068;

/** The dialect that an issuer's configuration names or describes. */
export function dialectOf(configured: DialectName | CustomDialect): Dialect {
  if (typeof configured === 'string') return dialects[configured];
  const { typ, agent, subject = 'sub', scope, roles = 'roles' } = configured;
  const agents = pathsOf(agent);
  return {
    ...rfc9068,
    types: new Set(typ.map(bareType)),
    client: [...clientClaims, ...agents],
    agent: agents,
    subject: pathsOf(subject),
    isIdRequired: false,
    scope: pathsOf(scope),
    mayListScopes: true,
    roles: pathsOf(roles),
  };
}

/** As dialectOf, for the issuer's answers about opaque tokens: RFC 7662 §2.2 names the members, most of them optional. */
export function introspectionDialect(dialect: Dialect): Dialect {
  const named = (name: string, others: readonly ClaimPath[]) => [[name], ...others.filter(([first]) => first !== name)];
  return {
    ...dialect,
    client: named('client_id', dialect.client),
    // A token that nobody authorized but the client itself has no sub.
    subject: [...dialect.subject, ['client_id']],
    isIdRequired: false,
    scope: named('scope', dialect.scope),
  };
}

/** Custom dialects that would let in what is no access token; each would refuse every such token at run time anyway. */
export function dialectProblems(
  issuers: readonly { readonly dialect: DialectName | CustomDialect }[],
): readonly ConfigurationProblem[] {
  return issuers.flatMap(({ dialect }, index) => {
    if (typeof dialect === 'string') return [];
    return dialect.typ.flatMap((type, at) =>
      typeOfAnotherKind(bareType(type))
        ? [{ path: ['issuers', index, 'dialect', 'typ', at], message: 'is the typ of another kind of JWT' }]
        : [],
    );
  });
}

/** The first value that is there under any of the paths; undefined where none is. */
export function firstClaim(claims: JsonObject, paths: readonly ClaimPath[]): unknown {
  for (const path of paths) {
    let value: unknown = claims;
    for (const name of path) value = isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
    if (value !== undefined) return value;
  }
  return undefined;
}

function pathsOf(names: string | readonly string[]): readonly ClaimPath[] {
  // A claim named by a URL, as RFC 7519 §4.2 suggests for private use, has dots that are no steps.
  return (typeof names === 'string' ? [names] : names).map((name) => (name.includes('/') ? [name] : name.split('.')));
}

function bareType(type: string): string {
  const lower = type.toLowerCase();
  return lower.startsWith('application/') ? lower.slice('application/'.length) : lower;
}
