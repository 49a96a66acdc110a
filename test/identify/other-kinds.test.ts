import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DialectName } from '../../src/identify/dialects.ts';
import { typeOfAnotherKind } from '../../src/identify/other-kinds.ts';
import type { IssuerTokenShape } from '../support/issuer-tokens.ts';
import { audience, startDialects } from './dialect-setup.ts';

let dialects: Awaited<ReturnType<typeof startDialects>>;
const loose: readonly (readonly [DialectName, IssuerTokenShape])[] = [
  ['keycloak', 'keycloakUser'],
  ['entra', 'entraOnBehalfOf'],
  ['auth0', 'auth0Client'],
  ['okta', 'oktaOnBehalfOf'],
  ['hydra', 'hydraUser'],
];

const otherTypes = [
  ...['dpop+jwt', 'wit+jwt', 'wpt+jwt', 'oauth-client-attestation+jwt', 'oauth-client-attestation-pop+jwt'],
  ...['client-authentication+jwt', 'openid4vci-proof+jwt', 'kb+jwt', 'secevent+jwt', 'logout+jwt'],
  ...['oauth-authz-req+jwt', 'token-introspection+jwt', 'statuslist+jwt', 'entity-statement+jwt'],
  ...['oauth-id-jag+jwt', 'txntoken+jwt', 'vc+sd-jwt', 'dc+sd-jwt'],
];

beforeAll(async () => {
  dialects = await startDialects();
});

afterAll(() => dialects.close());

describe.each(loose)(
  'where the typ is not at+jwt, %s takes no other kind of JWT for an access token:',
  (dialect, shape) => {
    const refused = (claims: Record<string, unknown>, word: string) =>
      dialects.refused(dialect, dialects.mint(shape, { claims }), word);

    it('an ID token', async () => {
      for (const name of ['nonce', 'at_hash', 'c_hash', 's_hash']) await refused({ [name]: 'x' }, 'an ID token');
    });

    it('one that is meant for its own client, as an ID token is', async () => {
      const client = (await dialects.accepted(dialect, dialects.mint(shape))).clientId;
      for (const aud of [client, [client], [audience, client]]) await refused({ aud }, 'its own client');
    });

    it('a logout or security event token', async () => {
      await refused({ events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, 'logout token');
      await refused({ events: {} }, 'security event');
    });

    it('a proof, a transaction token, an introspection answer and others', async () => {
      await refused({ htm: 'GET', htu: audience }, 'a proof');
      await refused({ wth: 'x' }, 'a workload proof');
      await refused({ req_wl: 'apigateway.example' }, 'a transaction token');
      await refused({ tctx: {} }, 'a transaction token');
      await refused({ token_introspection: { active: true } }, 'an introspection answer');
      await refused({ status_list: { bits: 1, lst: '' } }, 'a status list');
      await refused({ sd_hash: 'x' }, 'a key binding');
      await refused({ authority_hints: [] }, 'an entity statement');
      await refused({ nonce: null }, 'an ID token');
    });

    it.each(otherTypes)('whatever says %s', async (typ) => {
      for (const written of [typ, typ.toUpperCase(), `application/${typ}`]) {
        await dialects.refused(dialect, dialects.mint(shape, { header: { typ: written } }), 'another kind');
      }
    });
  },
);

describe('types', () => {
  it('of other kinds are all known', () => {
    for (const type of otherTypes) expect(typeOfAnotherKind(type)).toBe(true);
    for (const type of ['at+jwt', 'jwt', '']) expect(typeOfAnotherKind(type)).toBe(false);
  });

  it('say enough where they say at+jwt: such a token may have a claim of any name', async () => {
    const claims = { nonce: 'x', events: {} };
    await dialects.accepted('rfc9068', dialects.mint('rfc9068', { claims }));
    await dialects.accepted('auth0', dialects.mint('auth0OnBehalfOf', { claims }));
  });

  it('of Okta’s organization server are refused: such tokens are for Okta’s own APIs', async () => {
    const header = { typ: 'application/okta-internal-at+jwt' };
    await dialects.refused('okta', dialects.mint('oktaClient', { header }), 'typ');
  });
});
