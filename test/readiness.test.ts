import { describe, expect, it } from 'vitest';
import { StoreFault } from '../src/errors.ts';
import { createReadiness, type ReadinessOptions } from '../src/readiness.ts';

const keySet = (isWarm: boolean, problem: string | null = null) => ({
  warm: async () => isWarm,
  problem: () => problem,
});

function readiness(changes: Partial<ReadinessOptions> = {}) {
  return createReadiness({
    isShuttingDown: () => false,
    isAuditHealthy: () => true,
    ping: async () => {},
    mirrorAgeMs: () => 30_000,
    mirrorAgeMaxMs: 30_000,
    keySets: new Map([['https://login.example', keySet(true)]]),
    secrets: { names: ['key'], problem: () => null },
    ...changes,
  });
}

describe('readiness', () => {
  it('is there when every dependency is', async () => {
    const checks = await readiness()();
    expect(checks).toEqual({
      listener: { ok: true },
      audit: { ok: true },
      store: { ok: true },
      revocations: { ok: true },
      issuers: { ok: true },
      credentials: { ok: true },
      configuration: { ok: true },
    });
  });

  it('tells of an issuer that gives no answers about opaque tokens, and is there all the same', async () => {
    expect(await readiness({ introspectionOutage: () => 'answered 500' })()).toMatchObject({
      issuers: { ok: true, detail: 'answered 500' },
    });
    expect((await readiness({ introspectionOutage: () => null })()).issuers).toEqual({ ok: true });
    const keySets = new Map([['https://a.example', keySet(false, 'answered 404')]]);
    expect((await readiness({ keySets, introspectionOutage: () => 'answered 500' })()).issuers).toEqual({
      ok: false,
      detail: 'no keys of https://a.example: answered 404',
    });
  });

  it.each<[string, Partial<ReadinessOptions>, string]>([
    ['listener', { isShuttingDown: () => true }, 'shutting down'],
    ['audit', { isAuditHealthy: () => false }, 'a sink takes no records'],
    ['store', { ping: () => Promise.reject(new StoreFault('no answer in time')) }, 'no answer in time'],
    ['revocations', { mirrorAgeMs: () => 30_001 }, 'what is revoked was last heard 30 s ago'],
    [
      'issuers',
      {
        keySets: new Map([
          ['https://a.example', keySet(true)],
          ['https://b.example', keySet(false, 'answered 500')],
        ]),
      },
      'no keys of https://b.example: answered 500',
    ],
    [
      'credentials',
      { secrets: { names: ['a', 'b'], problem: (name) => (name === 'b' ? 'cannot be read (ENOENT)' : null) } },
      'credential b cannot be read (ENOENT)',
    ],
  ])('fails by %s alone, and says why', async (name, changes, detail) => {
    const checks = await readiness(changes)();
    expect(checks[name]).toEqual({ ok: false, detail });
    expect(Object.values(checks).filter((check) => !check.ok)).toHaveLength(1);
  });

  it('asks every issuer at once, and once for all who ask meanwhile', async () => {
    const asked: string[] = [];
    const gate = Promise.withResolvers<boolean>();
    const slow = (issuer: string) => ({
      warm: () => {
        asked.push(issuer);
        return gate.promise;
      },
      problem: () => null,
    });
    const check = readiness({
      keySets: new Map([
        ['a', slow('a')],
        ['b', slow('b')],
      ]),
    });
    const first = check();
    const second = check();
    expect(asked).toEqual(['a', 'b']);
    gate.resolve(true);
    expect(await first).toEqual(await second);
    await check();
    expect(asked).toEqual(['a', 'b', 'a', 'b']);
  });

  it('sees a shutdown that begins while it asks', async () => {
    const gate = Promise.withResolvers<void>();
    let isShuttingDown = false;
    const checks = readiness({ isShuttingDown: () => isShuttingDown, ping: () => gate.promise })();
    isShuttingDown = true;
    gate.resolve();
    expect((await checks).listener).toMatchObject({ ok: false });
  });

  it('does not take a bug for a store that is down', async () => {
    const bug = new TypeError('bug');
    await expect(readiness({ ping: () => Promise.reject(bug) })()).rejects.toBe(bug);
  });
});
