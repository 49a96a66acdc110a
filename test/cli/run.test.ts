import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { createServer as createNetServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { clientCertificate, serverCertificate } from '../support/certificates.ts';
import { listenOn, RawClient } from '../support/raw-http.ts';
import { goodFields, goodRules, routeTo, secretText, writeConfiguration } from './configuration-file.ts';
import { postern, type Running, startPostern } from './postern-process.ts';

const running: Running[] = [];
afterEach(async () => {
  for (const sidecar of running.splice(0)) {
    sidecar.kill('SIGKILL');
    await sidecar.ended;
  }
});

function start(configFile: string): Running {
  const sidecar = startPostern(configFile);
  running.push(sidecar);
  return sidecar;
}

const portOf = (origin: string): number => Number(new URL(origin).port);

describe('postern run refuses to start', () => {
  it.each<[string, Readonly<Record<string, unknown>>, string]>([
    ['with an unknown key', { lissten: {} }, 'did you mean "listen"?'],
    ['with a value of another type', { limits: { headerCount: 'many' } }, 'limits.headerCount must be of type number'],
    ['with a secret that cannot be read', { credentials: unreadableSecret() }, 'credentials.api-key.from'],
    ['with an audit file in no folder', { audit: { sinks: [{ file: 'no/such/folder' }] } }, 'audit.sinks[0].file'],
    ['with an open admin address and no token', { admin: { address: '0.0.0.0:0' } }, 'admin.tokenFile is required'],
    ['with a token that could be guessed', { admin: { address: '0.0.0.0:0', tokenFile: 'short' } }, 'shorter than'],
    ['with a database that is no number', { store: { kind: 'redis', url: 'redis://x/db' } }, 'store.url'],
    ['with an issuer that has no place for keys', { issuers: [{ issuer: 'login' }] }, 'issuers[0].issuer'],
    ['without rules', { rules: ['empty.yaml'] }, 'empty.yaml'],
    ['with a registry of agents that is no good', { agents: { file: 'empty.yaml' } }, 'unknown key rules'],
  ])('%s', async (_name, changes, expected) => {
    const { file, write } = writeConfiguration(changes);
    write('short', 'short');
    write('empty.yaml', 'rules: []\n');
    const { code, stdout, stderr } = await postern(['run', '--config', file]);
    expect(stderr).toContain(expected);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    // A fault that was foreseen has a message, not a stack.
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  it('with rules of every fault, and names them all at once', async () => {
    const { file, write } = writeConfiguration({ rules: ['rules.yaml', 'more.yaml'], unknown: true });
    write('more.yaml', `${goodRules}${ruleOf('b', '1 +')}${ruleOf('c', 'token.aud')}${ruleOf('d', '1 == "a"')}`);
    const { code, stdout } = await postern(['run', '--config', file, '--json']);
    expect(code).toBe(2);
    const { error, problems } = JSON.parse(stdout) as { error: string; problems: { message: string }[] };
    expect(error).toBe('configuration');
    expect(problems.map(({ message }) => message.slice(0, 20))).toEqual([
      'unknown key unknown',
      'rule everyone-reads ',
      expect.stringMatching(/^rule b: /),
      expect.stringMatching(/^rule c: /),
      expect.stringMatching(/^rule d: /),
    ]);
  });

  it.each(['listen', 'admin'] as const)('where the port of %s is in use, with exit code 3', async (section) => {
    const other = createNetServer();
    const address = `127.0.0.1:${await listenOn(other)}`;
    const publicOrigin = 'https://api.agents.example';
    const { file } = writeConfiguration({ [section]: section === 'listen' ? { address, publicOrigin } : { address } });
    const { code, stderr } = await postern(['run', '--config', file]);
    other.close();
    expect(code).toBe(3);
    expect(stderr).toContain(`postern: cannot listen on ${address} (${section}.address)`);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  it('without a configuration, with exit code 2', async () => {
    const { folder } = writeConfiguration();
    const { code, stderr } = await postern(['run'], { cwd: join(folder, '..') });
    expect(code).toBe(2);
    expect(stderr).toContain('postern.yaml cannot be read (ENOENT)');
  });

  it('with TLS files that do not fit together, or are none', async () => {
    const listen = {
      address: '127.0.0.1:0',
      publicOrigin: 'https://api.agents.example',
      tls: { certFile: 'cert.pem', keyFile: 'key.pem' },
    };
    const { file, write } = writeConfiguration({ listen });
    write('cert.pem', serverCertificate.cert);
    write('key.pem', clientCertificate.key);
    const mismatch = await postern(['run', '--config', file]);
    expect(mismatch).toMatchObject({ code: 2, stderr: expect.stringContaining('listen.tls.keyFile is not the key') });
    write('key.pem', secretText);
    const garbage = await postern(['run', '--config', file]);
    expect(garbage).toMatchObject({ code: 2, stderr: expect.stringContaining('listen.tls.keyFile holds no PEM') });
    expect(garbage.stderr).not.toContain(secretText);
  });
});

describe('postern run stops', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    'at %s after the live request has finished, with readiness failing first',
    async (signal) => {
      const upstream = await heldUpstream();
      const { file, folder } = writeConfiguration({ routes: [routeTo(upstream.origin)] });
      const sidecar = start(file);
      const { listening, admin } = await sidecar.listening;
      expect((await fetch(`${admin}/readyz`)).status).toBe(200);

      const client = new RawClient(portOf(listening)).send(getOf('/api/slow'));
      const answer = await upstream.held;
      sidecar.kill(signal);
      await expect.poll(async () => (await fetch(`${admin}/readyz`)).status).toBe(503);
      answer.end('the whole answer');
      const received = await client.end();
      expect(received).toMatch(/^HTTP\/1\.1 200 /);
      expect(received).toContain('the whole answer');
      const ended = await sidecar.ended;
      expect(ended).toMatchObject({ code: 0, signal: null });
      expect(ended.stderr).toMatch(/"msg":"asked to stop: [^"]*"[\s\S]*"msg":"stopped"/);

      const records = readFileSync(join(folder, 'audit.jsonl'), 'utf8').trimEnd().split('\n');
      expect(records.map((line) => JSON.parse(line) as object)).toMatchObject([
        { decision: 'allow', status: 200, end: 'complete' },
      ]);
      await upstream.close();
    },
  );

  it('with a client that keeps its connection alive: told to close, then closed', async () => {
    const { file } = writeConfiguration({ shutdown: { delay: '30s', deadline: '1s' } });
    const sidecar = start(file);
    const { listening, admin } = await sidecar.listening;
    const client = new RawClient(portOf(listening)).send(getOf('/nowhere'));
    expect(await client.until((received) => received.includes('no_route'))).toMatch(/connection: keep-alive/i);
    sidecar.kill('SIGTERM');
    await expect.poll(async () => (await fetch(`${admin}/readyz`)).status).toBe(503);
    // Requests are still taken, for those who have not heard yet; but each answer ends its connection.
    const answers = (await client.send(getOf('/nowhere')).end()).split(/(?=HTTP\/1\.1 )/);
    expect(answers).toHaveLength(2);
    expect(answers[1]).toMatch(/^HTTP\/1\.1 404 .*\r\nconnection: close\r\n/is);
    // The delay would be long: the second signal is who ends this.
    sidecar.kill('SIGINT');
    expect(await sidecar.ended).toMatchObject({ code: 130 });
  });

  it('at the deadline with what is left cut, recorded, and exit code 0', async () => {
    const upstream = await heldUpstream();
    const changes = { routes: [routeTo(upstream.origin)], shutdown: { delay: '0s', deadline: '100ms' } };
    const { file, folder } = writeConfiguration(changes);
    const sidecar = start(file);
    const { listening } = await sidecar.listening;
    const client = new RawClient(portOf(listening)).send(getOf('/api/slow'));
    await upstream.held;
    sidecar.kill('SIGTERM');
    expect(await client.end()).toBe('');
    expect(await sidecar.ended).toMatchObject({ code: 0, signal: null });
    const record = JSON.parse(readFileSync(join(folder, 'audit.jsonl'), 'utf8')) as object;
    expect(record).toMatchObject({ decision: 'allow', status: 0, end: 'client_aborted' });
    await upstream.close();
  });
});

describe('postern run', () => {
  it('reads its registry of agents again on SIGHUP, and goes on', async () => {
    const { file, write } = writeConfiguration({ agents: { file: 'agents.yaml' } });
    write('agents.yaml', 'agents: []');
    const sidecar = start(file);
    const { admin } = await sidecar.listening;
    const agentsOf = async () => (await fetch(`${admin}/v1/agents`)).json();
    expect(await agentsOf()).toMatchObject({ agents: [] });
    write('agents.yaml', 'agents: [{ id: agent-7, owner: alice }]');
    sidecar.kill('SIGHUP');
    await expect.poll(agentsOf, { timeout: 5000 }).toMatchObject({ agents: [{ id: 'agent-7' }] });
    sidecar.kill('SIGTERM');
    expect((await sidecar.ended).code).toBe(0);
  });

  it('ends in time where nobody reads its audit records, and lets nothing pass meanwhile', async () => {
    const { file, folder } = writeConfiguration({ audit: { sinks: ['stdout'] } });
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const reader = await open(pipe, 'r+');
    const sidecar = startPostern(file, { stdout: reader.fd });
    running.push(sidecar);
    const { listening } = await sidecar.listening;
    const text = await new RawClient(portOf(listening))
      .send(getOf('/nowhere').repeat(200))
      .until((received) => received.includes('audit_unavailable') || received.split('no_route').length > 200);
    expect(text).toContain('no_route');
    await expect
      .poll(
        async () => {
          const client = new RawClient(portOf(listening)).send(getOf('/nowhere'));
          const received = await client.until((soFar) => soFar.includes('"reason"'));
          client.destroy();
          return received;
        },
        { timeout: 5000 },
      )
      .toContain('audit_unavailable');
    sidecar.kill('SIGTERM');
    const { code, stderr } = await sidecar.ended;
    expect(code).toBe(0);
    expect(stderr).toContain('could not be written before the end');
    await reader.close();
  });

  it('writes audit records to standard output and everything else to standard error, with no secret in either', async () => {
    const { file } = writeConfiguration({ audit: { sinks: ['stdout'] } });
    const sidecar = start(file);
    const { listening } = await sidecar.listening;
    const fields = goodFields('/api/x');
    const client = new RawClient(portOf(listening)).send(getOf('/api/x', fields));
    await client.until((received) => received.includes('upstream_failed'));
    client.destroy();
    sidecar.kill('SIGTERM');
    const { code, stdout, stderr } = await sidecar.ended;
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { type: 'decision', decision: 'allow', reason: 'upstream_failed', agent: { id: 'agent-7' } },
    ]);
    const accessToken = fields.authorization.slice('DPoP '.length);
    for (const secret of [secretText, accessToken, fields.dpop]) {
      expect(stdout).not.toContain(secret);
      expect(stderr).not.toContain(secret);
    }
  });

  it.each([
    ['makes the audit file for its owner only', null],
    ['appends to an audit file that is there', '{"earlier":true}\n'],
  ])('%s', async (_name, earlier) => {
    const { file, folder, write } = writeConfiguration();
    const audit = join(folder, 'audit.jsonl');
    if (earlier !== null) write('audit.jsonl', earlier);
    const sidecar = start(file);
    const { listening } = await sidecar.listening;
    const client = new RawClient(portOf(listening)).send(getOf('/nowhere'));
    await client.until((received) => received.includes('no_route'));
    client.destroy();
    sidecar.kill('SIGTERM');
    await sidecar.ended;
    const text = readFileSync(audit, 'utf8');
    expect(text.startsWith(earlier ?? '{"type":"decision"')).toBe(true);
    expect(text.slice(earlier?.length ?? 0)).toMatch(/^\{"type":"decision".*"no_route".*\}\n$/);
    if (earlier === null) expect(statSync(audit).mode & 0o777).toBe(0o600);
  });
});

function unreadableSecret(): object {
  return { 'api-key': { from: { file: 'nowhere' }, inject: { header: 'authorization' } } };
}

function ruleOf(id: string, when: string): string {
  return `  - id: ${id}\n    when: ${when}\n    effect: allow\n`;
}

function getOf(path: string, fields: Readonly<Record<string, string>> = goodFields(path)): string {
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\nhost: api.agents.example\r\n${lines.join('')}\r\n`;
}

/** Answers its first request when the test does. */
async function heldUpstream() {
  const held = Promise.withResolvers<ServerResponse>();
  const server = createServer((_incoming, response) => held.resolve(response));
  const port = await listenOn(server);
  return {
    origin: `http://127.0.0.1:${port}`,
    held: held.promise,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
