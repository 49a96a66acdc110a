import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type CallOptions, call } from '../../src/cli/call.ts';
import { explain } from '../../src/cli/explain.ts';
import { revocations, revoke } from '../../src/cli/revoke.ts';
import { type DemoParts, freePorts, startDemoParts } from '../../src/demo/parts.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { mainFile, postern } from './postern-process.ts';

let folder: string;
let parts: DemoParts;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-stream-test-'));
  parts = await startDemoParts({ ports: freePorts, sessionFolder: null });
});

afterAll(async () => {
  await parts.close();
  await rm(folder, { recursive: true, force: true });
});

/** The sample API's events go on for a while. */
function stream(options: Partial<CallOptions> = {}) {
  const { io, stdout } = createCapturedIo();
  const { secret = '' } = parts.clients.get('agent-streamer') ?? {};
  const usual = {
    url: `${parts.origin}/repos/acme/site/events`,
    issuer: parts.issuer,
    clientId: 'agent-streamer',
    clientSecret: secret,
    scope: 'repo:read',
    sessionFolder: folder,
  };
  return { ended: call({ ...usual, json: false, ...options }, io), stdout };
}

async function revokeAgent(): Promise<string> {
  const { io, stdout } = createCapturedIo();
  const options = { kind: 'agent', value: 'agent-streamer', reason: 'test', admin: parts.adminOrigin } as const;
  expect(await revoke({ ...options, dryRun: false, json: true }, io)).toBe(0);
  return (JSON.parse(stdout()) as { id: string }).id;
}

async function lift(id: string): Promise<void> {
  const { io } = createCapturedIo();
  expect(await revocations({ lift: id, limit: 1, admin: parts.adminOrigin, json: true }, io)).toBe(0);
}

describe('postern call, on a stream of events', () => {
  test('shows events as they come, says that a revocation cut them off, and ends with 3', async () => {
    const { ended, stdout } = stream();
    await vi.waitFor(() => expect(stdout()).toContain('{"commit":2}'), { timeout: 10_000 });
    expect(stdout()).toMatch(/^allowed {2}status 200/);
    const id = await revokeAgent();
    try {
      expect(await ended).toBe(3);
    } finally {
      await lift(id);
    }
    expect(stdout()).toContain('cut off:');
    const [, decision = ''] = /postern explain (\S+)/.exec(stdout()) ?? [];
    await vi.waitFor(async () => {
      const explained = createCapturedIo();
      expect(await explain({ decision, admin: parts.adminOrigin, json: false }, explained.io)).toBe(0);
      expect(explained.stdout()).toContain('ended      revoked');
      expect(explained.stdout()).toContain('because    revoked: ["agent","agent-streamer"]');
    });
  });

  test.each([false, true])('reads for no longer than --max-time (as JSON: %s)', async (json) => {
    const { ended, stdout } = stream({ json, maxTime: '700ms' });
    expect(await ended).toBe(0);
    expect(stdout()).toContain('commit');
    if (json) expect(JSON.parse(stdout())).toMatchObject({ decision: 'allowed', body_end: 'time' });
    else expect(stdout()).toContain('--max-time');
    expect(stdout()).not.toContain('cut off');
  });

  test('ends when nobody reads it any more, long before the stream does', async () => {
    const { secret = '' } = parts.clients.get('agent-streamer') ?? {};
    const url = `${parts.origin}/repos/acme/site/events`;
    const client = ['--issuer', parts.issuer, '--client-id', 'agent-streamer', '--scope', 'repo:read'];
    const script = `"${process.execPath}" "${mainFile}" "$@" | head -n 3`;
    const { code, stdout } = await postern(['call', url, ...client], {
      command: ['sh', '-c', script, 'sh'],
      env: { POSTERN_CLIENT_SECRET: secret },
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^allowed {2}status 200\n/);
  });

  test.each(['5', '0s', '-1s', '25d', 'soon'])('takes no %s for --max-time', async (maxTime) => {
    const { ended, stdout } = stream({ json: true, maxTime });
    expect(await ended).toBe(2);
    expect(JSON.parse(stdout())).toMatchObject({ error: 'usage' });
  });
});
