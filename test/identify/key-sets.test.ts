import { describe, expect, it } from 'vitest';
import { createKeySets, type KeySetsOptions } from '../../src/identify/key-sets.ts';
import { createTestClock } from '../support/clock.ts';
import { startJwksServer } from '../support/jwks-server.ts';

const settings = { algorithms: ['ES256'], keysMaxAge: 600_000, keysMaxStale: 3_600_000 };

describe('createKeySets', () => {
  it('starts with an issuer down, serves the others, and takes it up when it comes back', async () => {
    const clock = createTestClock();
    const [up, down] = await Promise.all([startJwksServer(), startJwksServer()]);
    down.setFault(503);
    const outcomes: string[] = [];
    const issuers: KeySetsOptions['issuers'] = [
      { issuer: up.issuer, ...settings },
      { issuer: down.issuer, jwksUri: down.jwksUri, ...settings },
    ];
    const onChange: KeySetsOptions['onChange'] = ({ issuer, outcome }) => outcomes.push(`${issuer} ${outcome}`);
    const keySets = createKeySets({ issuers, clock, onChange });
    try {
      expect(await keySets.warm()).toBe(false);
      expect(outcomes.toSorted()).toEqual([`${down.issuer} failed`, `${up.issuer} fetched`].toSorted());
      expect(keySets.byIssuer.get(up.issuer)?.trusts(up.key.jkt)).toBe(true);
      expect(keySets.byIssuer.get(up.issuer)?.trusts(down.key.jkt)).toBe(false);
      expect(await keySets.byIssuer.get(down.issuer)?.find(null, 'ES256')).toMatchObject({
        reason: 'issuer_unavailable',
        retryAfterSeconds: 1,
      });
      down.setFault(null);
      clock.advance(1000);
      expect(await keySets.byIssuer.get(down.issuer)?.find(down.key.kid, 'ES256')).toHaveLength(1);
      expect(await keySets.warm()).toBe(true);
    } finally {
      await keySets.close();
      await Promise.all([up.close(), down.close()]);
    }
  });
});
