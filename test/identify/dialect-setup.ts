/** Verifies tokens of one issuer in one dialect, with that issuer's keys from a real server. */

import { expect } from 'vitest';
import { type Deny, isDeny } from '../../src/decision.ts';
import type { AccessToken } from '../../src/exchange.ts';
import { createVerifyAccessToken } from '../../src/identify/access-token.ts';
import { type CustomDialect, type DialectName, dialectOf } from '../../src/identify/dialects.ts';
import { createKeySets } from '../../src/identify/key-sets.ts';
import { createTestClock } from '../support/clock.ts';
import { type IssuerTokenOptions, type IssuerTokenShape, mintLike } from '../support/issuer-tokens.ts';
import { startJwksServer } from '../support/jwks-server.ts';

export const audience = 'https://api.example.com';
export type TokenChanges = Partial<Pick<IssuerTokenOptions, 'header' | 'claims' | 'audience'>>;

export async function startDialects() {
  const clock = createTestClock();
  const server = await startJwksServer({ path: '/tenant' });
  const { issuer } = server;
  const settings = { issuer, algorithms: ['ES256'], keysMaxAge: 86_400_000, keysMaxStale: 86_400_000 };
  const keySets = createKeySets({ issuers: [settings], clock });
  const keySet = keySets.byIssuer.get(issuer) ?? expect.unreachable('no key set');

  const mint = (shape: IssuerTokenShape, changes: TokenChanges = {}): string =>
    mintLike(shape, { issuer, issuerKey: server.key, audience, nowMs: clock(), ...changes });

  async function verify(dialect: DialectName | CustomDialect, raw: string): Promise<AccessToken | Deny> {
    const issuers = [{ issuer, algorithms: ['ES256'], clockSkewMs: 30_000, keySet, dialect: dialectOf(dialect) }];
    const result = await createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288 })(raw);
    return isDeny(result) ? result : result.accessToken;
  }

  return {
    issuer,
    clock,
    mint,
    verify,
    async accepted(dialect: DialectName | CustomDialect, raw: string): Promise<AccessToken> {
      const result = await verify(dialect, raw);
      if (isDeny(result)) expect.unreachable(`refused: ${result.cause}`);
      return result;
    },
    async refused(dialect: DialectName | CustomDialect, raw: string, word: string) {
      const cause = expect.stringContaining(word);
      expect(await verify(dialect, raw)).toMatchObject({ effect: 'deny', reason: 'token_invalid', cause });
    },
    close: () => Promise.all([keySets.close(), server.close()]),
  };
}
