import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type WatchOptions, watchFiles } from '../../src/reload/watch.ts';

const waitMs = 10_000;

let folder: string;
const closers: (() => Promise<void>)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-watch-'));
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** Counts looks; settled when the folders are watched and what they hold has been looked at. */
async function watching(changes: Partial<WatchOptions> = {}) {
  let looks = 0;
  const faults: unknown[] = [];
  const close = watchFiles({
    look: async () => {
      looks += 1;
      return [folder];
    },
    intervalMs: 3_600_000,
    ignored: new Set(),
    onFault: (fault) => faults.push(fault),
    ...changes,
  });
  closers.push(close);
  // One at the start, and one for what may have changed before the folder was watched.
  if (changes.look === undefined) await expect.poll(() => looks, { timeout: waitMs }).toBe(2);
  return { looks: () => looks, faults, close };
}

describe('watching folders', () => {
  it('looks once for changes that follow each other quickly', async () => {
    const { looks } = await watching();
    for (let index = 0; index < 50; index += 1) writeFileSync(join(folder, `file-${index}`), 'x');
    await expect.poll(looks, { timeout: waitMs }).toBe(3);
  });

  it('looks in time though a folder never rests', async () => {
    const { looks } = await watching();
    const startedMs = performance.now();
    while (looks() === 2 && performance.now() - startedMs < waitMs) {
      appendFileSync(join(folder, 'busy'), 'x');
      await setTimeout(20);
    }
    expect(looks()).toBe(3);
  });

  it('does not look for a file that changes without end, and is to be ignored', async () => {
    const { looks } = await watching({ ignored: new Set([join(folder, 'audit.jsonl')]) });
    appendFileSync(join(folder, 'audit.jsonl'), '{}\n');
    const { looks: others } = await watching();
    appendFileSync(join(folder, 'audit.jsonl'), '{}\n');
    await expect.poll(others, { timeout: waitMs }).toBe(3);
    expect(looks()).toBe(2);
    writeFileSync(join(folder, 'rules.yaml'), '');
    await expect.poll(looks, { timeout: waitMs }).toBe(3);
  });

  it('watches the folder that a link leads to by now', async () => {
    const [one, other, link] = ['one', 'other', 'link'].map((name) => join(folder, name)) as [string, string, string];
    mkdirSync(one);
    mkdirSync(other);
    symlinkSync(one, link);
    let looks = 0;
    const close = watchFiles({
      look: async () => {
        looks += 1;
        return [link];
      },
      intervalMs: 200,
      ignored: new Set(),
      onFault: () => {},
    });
    closers.push(close);
    symlinkSync(other, `${link}~`);
    renameSync(`${link}~`, link);
    const before = looks;
    await expect.poll(() => looks, { timeout: waitMs }).toBeGreaterThan(before + 1);
    rmSync(one, { recursive: true });
    await expect.poll(() => looks, { timeout: waitMs }).toBeGreaterThan(before + 2);
  });

  it('goes on after a look that failed, at the next interval', async () => {
    let looks = 0;
    const { faults } = await watching({
      intervalMs: 20,
      look: async () => {
        looks += 1;
        if (looks === 1) throw new TypeError('a bug');
        return [join(folder, 'is not there')];
      },
    });
    await expect.poll(() => looks, { timeout: waitMs }).toBeGreaterThan(2);
    expect(faults).toEqual([new TypeError('a bug')]);
  });

  it('ends with the look that is under way, and looks no more', async () => {
    const begun = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    let isDone = false;
    const { close } = await watching({
      intervalMs: 5,
      look: async () => {
        begun.resolve();
        await finish.promise;
        isDone = true;
        return [folder];
      },
    });
    await begun.promise;
    const closed = close();
    finish.resolve();
    await closed;
    expect(isDone).toBe(true);
  });
});
