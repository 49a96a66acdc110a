import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examine, type FuzzTarget, fuzz, keepFind } from './fuzzer.ts';
import { findsFolder, isTargetName, type TargetName, targetNames, targets } from './targets.ts';

const finds = readdirSync(findsFolder).filter((file) => file.endsWith('.txt'));
/** About two seconds each. The same inputs on every run, but for signatures. */
const runs: Readonly<Record<TargetName, number>> = {
  proof: 4000,
  token: 3000,
  target: 40_000,
  rules: 400,
  config: 150,
};

describe.each(targetNames)('fuzzing %s', (name) => {
  let target: FuzzTarget;
  beforeAll(async () => {
    target = await targets[name]();
  });
  afterAll(() => target.close());

  it('finds nothing in a short run, which accepts some and refuses some', { timeout: 60_000 }, async () => {
    const { outcomes, finds: found, runs: done } = await fuzz(target, { seed: 20_261_122, runsMax: runs[name] });
    expect(found).toEqual([]);
    expect(done).toBe(runs[name]);
    const accepted = outcomes.get('accepted') ?? 0;
    // A run of nothing but rubbish, or of nothing that is wrong, would show nothing.
    expect(accepted).toBeGreaterThan(done / 100);
    expect(done - accepted).toBeGreaterThan(done / 10);
  });

  it('holds of what was found before', async () => {
    for (const file of finds.filter((each) => each.startsWith(`${name}-`))) {
      expect(await examine(target, readFileSync(join(findsFolder, file), 'utf8')), file).toMatchObject({
        problem: null,
      });
    }
  });
});

describe('the fuzzer', () => {
  const broken = (judge: FuzzTarget['judge']): FuzzTarget => ({
    name: 'broken',
    boundMs: 20,
    write: (random) => random.text('ab', 3),
    judge,
    close() {},
  });

  it('keeps what makes a target throw', async () => {
    const target = broken((input) => {
      if (input === 'aba') throw new TypeError('no method of undefined');
      return 'accepted';
    });
    const { finds: found } = await fuzz(target, { seed: 1, runsMax: 200 });
    expect(found[0]).toMatchObject({ input: 'aba', problem: expect.stringContaining('TypeError') });
    const file = keepFind(mkdtempSync(join(tmpdir(), 'postern-finds-')), 'broken', { input: 'aba', problem: '' });
    expect(readFileSync(file, 'utf8')).toBe('aba');
    expect(await examine(target, readFileSync(file, 'utf8'))).toMatchObject({ outcome: 'found' });
  });

  it('finds what takes too long, again and again', async () => {
    const target = broken(() => {
      const startedMs = performance.now();
      while (performance.now() - startedMs < 25);
      return 'accepted';
    });
    expect(await examine(target, 'a')).toMatchObject({ problem: expect.stringContaining('more than 20') });
  });

  it('writes the same inputs from the same seed', async () => {
    const inputs: [string[], string[]] = [[], []];
    for (const list of inputs) {
      await fuzz(
        broken((input) => {
          list.push(input);
          return 'accepted';
        }),
        { seed: 7, runsMax: 50 },
      );
    }
    expect(inputs[0]).toEqual(inputs[1]);
    expect(new Set(inputs[0]).size).toBeGreaterThan(1);
  });

  it('names finds after targets that there are', () => {
    for (const file of finds) expect(isTargetName(file.slice(0, file.lastIndexOf('-'))), file).toBe(true);
  });
});
