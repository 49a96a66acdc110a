/** An introspecting verifier of opaque tokens, between a real endpoint and a real key server. */

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Deny, isDeny } from '../../src/decision.ts';
import { createVerifyAccessToken, type VerifiedAccessToken } from '../../src/identify/access-token.ts';
import { type DialectName, dialectOf } from '../../src/identify/dialects.ts';
import { createIntrospect, type Introspect, type IntrospectOptions } from '../../src/identify/introspect.ts';
import { createKeySets, type KeySets } from '../../src/identify/key-sets.ts';
import { createTestClock, type TestClock } from '../support/clock.ts';
import { type IntrospectionServer, startIntrospectionServer } from '../support/introspection-server.ts';
import { type JwksServer, startJwksServer } from '../support/jwks-server.ts';

export const audience = 'https://api.example.com';
export const secret = 's3cret: with % and spaces';

export type IntrospectSettings = Partial<
  Pick<IntrospectOptions, 'cacheMs' | 'negativeCacheMs' | 'cacheMax' | 'lifetimeMaxMs' | 'onFailure'>
> & {
  readonly auth?: 'basic' | 'post';
  readonly accept?: 'json' | 'jwt';
  readonly timeoutMs?: number;
  readonly dialect?: DialectName;
};

export type OpaqueTokens = {
  readonly clock: TestClock;
  readonly server: IntrospectionServer;
  readonly keys: JwksServer;
  readonly introspect: Introspect;
  readonly secretFile: string;
  /** What a good answer says, and what is changed in it. */
  answer(changes?: Readonly<Record<string, unknown>>): Record<string, unknown>;
  verify(raw: string): VerifiedAccessToken | Deny | Promise<VerifiedAccessToken | Deny>;
  accepted(raw: string): Promise<VerifiedAccessToken>;
  refused(raw: string, word: string, reason?: string): Promise<Deny>;
  close(): Promise<unknown>;
};

export async function startOpaqueTokens(settings: IntrospectSettings = {}): Promise<OpaqueTokens> {
  const { auth = 'basic', accept = 'json', timeoutMs = 5000, dialect = 'rfc9068', ...bounds } = settings;
  const clock = createTestClock();
  const [server, keys] = await Promise.all([startIntrospectionServer(), startJwksServer()]);
  const { issuer } = keys;
  const keySets: KeySets = createKeySets({
    issuers: [{ issuer, algorithms: ['ES256'], keysMaxAge: 86_400_000, keysMaxStale: 86_400_000 }],
    clock,
  });
  const keySet = keySets.byIssuer.get(issuer) ?? expect.unreachable('no key set');
  const secretFile = join(mkdtempSync(join(tmpdir(), 'postern-introspect-')), 'secret');
  writeFileSync(secretFile, `${secret}\n`);
  const trusted = { issuer, algorithms: ['ES256'], clockSkewMs: 30_000, keySet, dialect: dialectOf(dialect) };
  const introspect = createIntrospect({
    ...trusted,
    endpoint: { url: server.url, clientId: 'postern gate', clientSecretFile: secretFile, auth, accept, timeoutMs },
    cacheMs: 30_000,
    negativeCacheMs: 5000,
    clock,
    ...bounds,
  });
  const verify = createVerifyAccessToken({
    issuers: [trusted],
    clock,
    tokenBytesMax: 12_288,
    introspect: introspect.verify,
  });
  return {
    clock,
    server,
    keys,
    introspect,
    secretFile,
    answer: (changes = {}) => ({
      active: true,
      token_type: 'Bearer',
      iss: issuer,
      client_id: 'agent-7',
      sub: 'user-1',
      aud: audience,
      scope: 'repo:read repo:write',
      iat: clock() / 1000,
      exp: clock() / 1000 + 600,
      jti: 'token-1',
      ...changes,
    }),
    verify,
    async accepted(raw) {
      const result = await verify(raw);
      if (isDeny(result)) expect.unreachable(`refused: ${result.cause}`);
      return result;
    },
    async refused(raw, word, reason = 'token_invalid') {
      const result = await verify(raw);
      expect(result).toMatchObject({ effect: 'deny', reason, cause: expect.stringContaining(word) });
      if (!isDeny(result)) expect.unreachable('accepted');
      return result;
    },
    close: () => Promise.all([introspect.close(), keySets.close(), server.close(), keys.close()]),
  };
}
