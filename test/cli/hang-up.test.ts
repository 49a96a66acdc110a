/** SIGHUP to a process of its own. */

import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { goodRules, writeConfiguration } from './configuration-file.ts';
import { type Running, startPostern } from './postern-process.ts';

const waitMs = 10_000;

const running: Running[] = [];
afterEach(async () => {
  for (const sidecar of running.splice(0)) {
    sidecar.kill('SIGKILL');
    await sidecar.ended;
  }
});

const linesOf = (file: string) =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as object)
    : [];

describe('SIGHUP', () => {
  it('loads changed rules, opens a rotated audit file again, and ends nothing', async () => {
    const { file, folder, write } = writeConfiguration({ reload: { watch: false } });
    const sidecar = startPostern(file);
    running.push(sidecar);
    const { listening } = await sidecar.listening;
    await fetch(`${listening}/nowhere`);
    const audit = join(folder, 'audit.jsonl');
    await expect.poll(() => linesOf(audit), { timeout: waitMs }).toHaveLength(1);

    renameSync(audit, `${audit}.1`);
    await fetch(`${listening}/nowhere`);
    await expect.poll(() => linesOf(`${audit}.1`), { timeout: waitMs }).toHaveLength(2);
    write('rules.yaml', goodRules.replace('everyone-reads', 'all-read'));
    sidecar.kill('SIGHUP');
    await expect
      .poll(() => linesOf(audit), { timeout: waitMs })
      .toEqual([expect.objectContaining({ type: 'reload', action: 'loaded', trigger: 'signal' })]);
    expect(statSync(audit).mode & 0o777).toBe(0o600);

    write('rules.yaml', 'rules: 5\n');
    sidecar.kill('SIGHUP');
    await expect
      .poll(() => linesOf(audit).at(-1), { timeout: waitMs })
      .toMatchObject({ type: 'reload', action: 'refused', problems: 1 });
    await fetch(`${listening}/nowhere`);
    await expect.poll(() => linesOf(audit).at(-1), { timeout: waitMs }).toMatchObject({ reason: 'no_route' });
    expect(linesOf(`${audit}.1`)).toHaveLength(2);

    sidecar.kill('SIGTERM');
    expect(await sidecar.ended).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(`${join(folder, 'rules.yaml')}:1:`),
    });
  });
});
