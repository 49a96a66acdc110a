import { execFileSync } from 'node:child_process';
import { constants, mkdirSync, mkdtempSync, readFileSync, renameSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSinks, type SinkConfig, type Sinks } from '../../src/record/sinks.ts';

const backlogBytesMax = 16 * 1024 * 1024;

let folder: string;
const opened: Sinks[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-sinks-'));
});
afterEach(async () => {
  for (const sinks of opened.splice(0)) await sinks.close();
});

function openCounted(sinks: readonly SinkConfig[]) {
  const counts = new Map<string, number>();
  const faults: { sink: string; code: unknown }[] = [];
  const opening = openSinks({
    sinks,
    count: (sink, outcome, count) => counts.set(`${sink} ${outcome}`, (counts.get(`${sink} ${outcome}`) ?? 0) + count),
    onFault: (sink, fault) => faults.push({ sink, code: 'code' in fault ? fault.code : fault.message }),
    retryMs: 10,
  });
  opened.push(opening);
  return { ...opening, counts: () => Object.fromEntries(counts), faults };
}

/** A named pipe is a sink that takes what somebody reads, and no more. */
function makePipe(): string {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  return pipe;
}

describe('a file sink', () => {
  it('holds every record, a line each, in order, once it is closed', async () => {
    const file = join(folder, 'audit.jsonl');
    const sinks = openCounted([{ file }]);
    const lines = Array.from({ length: 1000 }, (_, index) => JSON.stringify({ index }));
    for (const line of lines) sinks.write(line);
    await sinks.close();
    expect(readFileSync(file, 'utf8')).toBe(`${lines.join('\n')}\n`);
    expect(sinks.counts()).toEqual({ 'file written': 1000 });
    expect(sinks.faults).toEqual([]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('is opened again where it was moved away, and stays where it was not', async () => {
    const [moved, same] = [join(folder, 'moved.jsonl'), join(folder, 'same.jsonl')];
    const sinks = openCounted([{ file: moved }, { file: same }]);
    sinks.write('"before"');
    renameSync(moved, `${moved}.1`);
    sinks.write('"between"');
    const reopened = sinks.reopen();
    sinks.write('"after"');
    await reopened;
    await sinks.close();
    expect(readFileSync(`${moved}.1`, 'utf8')).toBe('"before"\n"between"\n');
    expect(readFileSync(moved, 'utf8')).toBe('"after"\n');
    expect(readFileSync(same, 'utf8')).toBe('"before"\n"between"\n"after"\n');
    expect(sinks.counts()).toEqual({ 'file written': 6 });
    expect(sinks.faults).toEqual([]);
  });

  it('goes on in the old file where the new one cannot be opened', async () => {
    const inner = join(folder, 'inner');
    mkdirSync(inner);
    const sinks = openCounted([{ file: join(inner, 'audit.jsonl') }]);
    renameSync(inner, join(folder, 'other'));
    await sinks.reopen();
    expect(sinks.faults).toEqual([{ sink: 'file', code: 'audit_sink' }]);
    sinks.write('{}');
    await sinks.close();
    expect(readFileSync(join(folder, 'other/audit.jsonl'), 'utf8')).toBe('{}\n');
  });

  it('is written without waiting for more records or the end', async () => {
    const file = join(folder, 'audit.jsonl');
    const sinks = openCounted([{ file }]);
    sinks.write('{}');
    await expect.poll(() => readFileSync(file, 'utf8')).toBe('{}\n');
    await expect.poll(sinks.counts).toEqual({ 'file written': 1 });
  });

  it('counts and reports a record that comes after the end, and does no worse', async () => {
    const sinks = openCounted([{ file: join(folder, 'audit.jsonl') }]);
    await sinks.close();
    sinks.write('{}');
    expect(sinks.counts()).toEqual({ 'file failed': 1 });
    expect(sinks.faults).toEqual([{ sink: 'file', code: 'audit_lost' }]);
    await sinks.close();
  });

  it.each([
    ['in a folder that is not there', () => join(folder, 'no/such/file')],
    ['that is a folder', () => folder],
    ['that is a pipe nobody reads', () => makePipe()],
  ])('cannot be opened %s, and says which one', async (_name, fileOf) => {
    const file = fileOf();
    expect(() => openCounted([{ file }])).toThrow(
      expect.objectContaining({ code: 'audit_sink', message: expect.stringContaining(file) }),
    );
  });
});

describe('a sink that fails', () => {
  it('is unhealthy, is reported once, and goes on being tried and counted without further records', async () => {
    const sinks = openCounted([{ file: '/dev/full' }]);
    expect(sinks.isHealthy()).toBe(true);
    sinks.write('{}');
    await expect.poll(() => sinks.counts()['file failed'] ?? 0).toBeGreaterThan(3);
    expect(sinks.isHealthy()).toBe(false);
    expect(sinks.faults).toEqual([{ sink: 'file', code: 'ENOSPC' }]);
    await sinks.close();
    expect(sinks.faults.at(-1)).toEqual({ sink: 'file', code: 'audit_lost' });
    expect(sinks.counts()['file written']).toBeUndefined();
  });

  it('recovers by itself, in order and without loss, when it can be written again', async () => {
    const pipe = makePipe();
    const first = await openReader(pipe);
    const sinks = openCounted([{ file: pipe }]);
    await first.close();
    const lines = Array.from({ length: 50 }, (_, index) => JSON.stringify({ index, text: 'x'.repeat(200) }));
    for (const line of lines) sinks.write(line);
    await expect.poll(() => sinks.isHealthy()).toBe(false);
    expect(sinks.faults).toEqual([{ sink: 'file', code: 'EPIPE' }]);
    const second = await openReader(pipe);
    // No record comes that could try it again: while it is not ready, a sidecar gets no traffic.
    await expect.poll(() => sinks.isHealthy()).toBe(true);
    const { buffer, bytesRead } = await second.read(Buffer.alloc(65_536), 0, 65_536);
    expect(buffer.toString('utf8', 0, bytesRead)).toBe(`${lines.join('\n')}\n`);
    expect(sinks.counts()['file written']).toBe(50);
    await sinks.close();
    await second.close();
  });

  it('makes all of them unhealthy, and keeps no record from the others', async () => {
    const file = join(folder, 'audit.jsonl');
    const sinks = openCounted([{ file: '/dev/full' }, { file }]);
    sinks.write('{}');
    await expect.poll(() => sinks.isHealthy()).toBe(false);
    await expect.poll(() => readFileSync(file, 'utf8')).toBe('{}\n');
  });
});

describe('a sink that takes nothing', () => {
  it('holds a bounded backlog, counts what is lost, and gives the rest when it is read again', async () => {
    const pipe = makePipe();
    // For reading and writing, so that nobody has to wait for the other end.
    const reader = await open(pipe, constants.O_RDWR | constants.O_NONBLOCK);
    const sinks = openCounted([{ file: pipe }]);
    const line = JSON.stringify({ text: 'x'.repeat(65_536) });
    const fitting = Math.floor(backlogBytesMax / (line.length + 1));
    for (let index = 0; index < fitting + 100; index += 1) {
      sinks.write(line);
      // Each in a turn of its own, as requests come.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => sinks.isHealthy()).toBe(false);
    const failed = sinks.counts()['file failed'] ?? 0;
    expect(failed).toBeGreaterThan(90);
    const codes = sinks.faults.map(({ code }) => code);
    expect(codes).toContain('audit_lost');
    expect(new Set(codes).size).toBe(codes.length);

    let text = '';
    while (!sinks.isHealthy()) text += await readAvailable(reader);
    text += await readAvailable(reader);
    const lines = text.split('\n').slice(0, -1);
    expect(lines.every((kept) => kept === line)).toBe(true);
    expect(sinks.counts()['file written']).toBe(lines.length);
    expect(lines.length).toBeGreaterThanOrEqual(fitting);
    expect(lines.length).toBeLessThan(fitting + 10);
    await sinks.close();
    await reader.close();
  });

  it('is no failure while it is only full for a moment, however often', async () => {
    const pipe = makePipe();
    const reader = await open(pipe, constants.O_RDWR | constants.O_NONBLOCK);
    const sinks = openCounted([{ file: pipe }]);
    // Many times what a pipe holds, and a reader so slow that it is found full each time.
    const line = 'x'.repeat(1_000_000);
    sinks.write(line);
    let length = 0;
    while (length <= line.length) {
      await setTimeout(60);
      length += (await readAvailable(reader)).length;
    }
    await sinks.close();
    expect(sinks.counts()).toEqual({ 'file written': 1 });
    expect(sinks.faults).toEqual([]);
    await reader.close();
  });

  it('does not hold up the end for ever, and says what it did not take', { timeout: 15_000 }, async () => {
    const pipe = makePipe();
    const reader = await open(pipe, 'r+');
    const sinks = openCounted([{ file: pipe }]);
    for (let index = 0; index < 10; index += 1) sinks.write('x'.repeat(65_536));
    await expect.poll(() => sinks.isHealthy(), { timeout: 5000 }).toBe(false);
    await sinks.close();
    expect(sinks.faults).toEqual([
      { sink: 'file', code: 'EAGAIN' },
      { sink: 'file', code: 'audit_lost' },
    ]);
    expect(sinks.counts()['file failed']).toBeGreaterThan(10);
    expect(sinks.counts()['file written']).toBeUndefined();
    await reader.close();
  });
});

/** The reading end of a pipe, without waiting for the writing one. */
function openReader(pipe: string): Promise<FileHandle> {
  return open(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
}

/** What is in the pipe, down to its last byte. */
async function readAvailable(reader: FileHandle): Promise<string> {
  let text = '';
  for (;;) {
    const bytes = await reader.read(Buffer.alloc(1 << 20), 0, 1 << 20).catch((fault: NodeJS.ErrnoException) => {
      if (fault.code === 'EAGAIN') return null;
      throw fault;
    });
    if (bytes === null) return text;
    text += bytes.buffer.toString('utf8', 0, bytes.bytesRead);
  }
}
