import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { call } from '../../src/cli/call.ts';
import { demo } from '../../src/cli/demo.ts';
import { type CapturedIo, createCapturedIo } from '../support/captured-io.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-demo-test-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** Settles with the first line of JSON on stdout. */
async function firstLine({ io, stdout }: CapturedIo): Promise<Record<string, string>> {
  const isThere = () => stdout().includes('\n');
  if (!isThere()) await new Promise<void>((resolve) => watchWrites(io.stdout, () => isThere() && resolve()));
  return JSON.parse(stdout().split('\n')[0] ?? '');
}

function watchWrites(stream: CapturedIo['io']['stdout'], onWrite: () => void): void {
  const write = stream.write.bind(stream);
  stream.write = (chunk: unknown) => {
    const isBelowMark = write(chunk);
    onWrite();
    return isBelowMark;
  };
}

describe('postern demo --serve', () => {
  test('serves postern call without any option, until it is asked to stop', async () => {
    const captured = createCapturedIo();
    const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
    const ended = demo({ serve: true, json: true, stopped, sessionFolder: folder }, captured.io);
    try {
      const { origin = '', admin = '', audit = '', configuration = '', rules = '' } = await firstLine(captured);
      const caller = createCapturedIo();
      const code = await call({ url: `${origin}/repos/acme/site`, json: true, sessionFolder: folder }, caller.io);
      expect(JSON.parse(caller.stdout())).toMatchObject({ decision: 'allowed', status: 200 });
      expect(code).toBe(0);
      expect((await fetch(`${admin}/readyz`)).status).toBe(200);
      for (const file of [audit, configuration, rules]) expect(existsSync(file), file).toBe(true);

      stop();
      expect(await ended).toBe(0);
      for (const file of [audit, configuration, rules]) expect(existsSync(file)).toBe(false);
      expect(await readdir(folder)).toEqual([]);
      await expect(fetch(origin)).rejects.toThrow();
    } finally {
      stop();
      await ended;
    }
  }, 20_000);
});

describe('postern demo', () => {
  test('narrates the tour and ends with 0', async () => {
    const { io, stdout } = createCapturedIo();
    expect(await demo({ serve: false, json: false, stopped: new Promise(() => {}), sessionFolder: folder }, io)).toBe(
      0,
    );
    expect(stdout().match(/ as told$/gm)).toHaveLength(15);
    expect(stdout()).not.toContain('NOT AS TOLD');
    expect(await readdir(folder)).toEqual([]);
  }, 20_000);

  test('gives the tour as one JSON document', async () => {
    const { io, stdout } = createCapturedIo();
    expect(await demo({ serve: false, json: true, stopped: new Promise(() => {}), sessionFolder: folder }, io)).toBe(0);
    const document = JSON.parse(stdout());
    expect(document).toMatchObject({ ok: true });
    expect(document.steps).toHaveLength(15);
    expect(document.steps[2]).toMatchObject({
      ok: true,
      decisions: [{ reason: 'key_mismatch' }, { reason: 'proof_missing' }],
    });
  }, 20_000);

  test('ends with 1 when it is cut short', async () => {
    const { io } = createCapturedIo();
    expect(await demo({ serve: false, json: true, stopped: Promise.resolve(), sessionFolder: folder }, io)).toBe(1);
  }, 20_000);
});
