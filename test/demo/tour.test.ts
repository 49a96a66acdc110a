import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { freePorts, startDemoParts } from '../../src/demo/parts.ts';
import { runTour, type StepResult } from '../../src/demo/tour.ts';

describe('the tour', () => {
  test('is as told, step by step, on real parts, and leaves nothing behind', async () => {
    const startedMs = performance.now();
    const parts = await startDemoParts({ ports: freePorts, sessionFolder: null });
    const told: StepResult[] = [];
    try {
      const result = await runTour(parts, (step) => told.push(step));
      expect(told.filter(({ isAsTold }) => !isAsTold)).toEqual([]);
      expect(result).toMatchObject({ isAsTold: true, steps: told });
      const reasons = new Set(result.steps.flatMap(({ decisions }) => decisions.map(({ reason }) => reason)));
      expect([...reasons].toSorted()).toEqual(
        [
          null,
          'audience_mismatch',
          'credential_leak_blocked',
          'key_mismatch',
          'no_matching_rule',
          'proof_missing',
          'proof_replayed',
          'rate_limited',
          'rule_denied',
          'scope_insufficient',
          'token_revoked',
        ].toSorted(),
      );
      for (const line of result.audit)
        expect(line).toMatchObject({ id: expect.any(String), decision: expect.any(String) });
      expect(performance.now() - startedMs).toBeLessThan(15_000);
    } finally {
      await parts.close();
    }
    expect(existsSync(dirname(parts.configFile))).toBe(false);
    await expect(fetch(parts.origin)).rejects.toThrow();
    await expect(fetch(parts.api.origin)).rejects.toThrow();
    await expect(fetch(parts.issuer)).rejects.toThrow();
  }, 20_000);

  test('says so when something is not as told', async () => {
    const parts = await startDemoParts({ ports: freePorts, sessionFolder: null });
    try {
      // An API key that the sidecar does not have: the API refuses what Postern allows.
      const impostor = { ...parts, apiKey: 'another key' };
      const { isAsTold, steps } = await runTour(impostor, () => {});
      expect(isAsTold).toBe(false);
      expect(steps.filter((step) => !step.isAsTold).map(({ number }) => number)).toEqual([2]);
    } finally {
      await parts.close();
    }
  }, 20_000);
});
