import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import type { AuditRecord } from '../../src/record/audit-record.ts';
import { mountConfigMap } from '../support/config-map.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, publicOrigin, type SidecarOptions, startSidecar } from '../support/sidecar.ts';

const waitMs = 10_000;
/** An event tells of a change; no test waits for the interval unless it says so. */
const seldom = { interval: '1h' };

const opened: Harness[] = [];
afterEach(async () => {
  for (const harness of opened.splice(0)) await harness.close();
});

type ReloadRecord = {
  readonly type: 'reload';
  readonly action: string;
  readonly trigger: string;
  readonly policy: string;
  readonly policy_before: string;
  readonly configuration: string;
  readonly configuration_before: string;
  readonly needs_restart: readonly string[];
  readonly problems: number;
};

type Reloading = Harness & {
  readonly folder: string;
  /** Changes the configuration file as an editor that writes aside and renames. */
  readonly configure: (change: (config: Configuration) => void) => void;
  readonly write: (name: string, text: string) => void;
  readonly reloads: () => readonly ReloadRecord[];
  readonly decisions: () => readonly AuditRecord[];
};
// biome-ignore lint/suspicious/noExplicitAny: what a person would type, of any shape.
type Configuration = Record<string, any>;

async function start(options: SidecarOptions = {}): Promise<Reloading> {
  const harness = await startSidecar({
    ...options,
    config: { ...options.config, reload: { ...seldom, ...options.config?.reload } },
  });
  opened.push(harness);
  const folder = dirname(harness.configFile);
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, `${name}~`), text);
    renameSync(join(folder, `${name}~`), join(folder, name));
  };
  const records = () =>
    harness
      .auditText()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as AuditRecord | ReloadRecord);
  return {
    ...harness,
    folder,
    write,
    configure: (change) => {
      const config = parse(readFileSync(harness.configFile, 'utf8')) as Configuration;
      change(config);
      write('postern.yaml', stringify(config));
    },
    reloads: () => records().filter((record) => record.type === 'reload') as ReloadRecord[],
    decisions: () => records().filter((record) => record.type === 'decision') as AuditRecord[],
  };
}

const allowAll = (id: string) => `rules:\n  - id: ${id}\n    when: "true"\n    effect: allow\n`;
const denyAll = (id: string) => `rules:\n  - id: ${id}\n    when: "true"\n    effect: deny\n`;
const broken = 'rules:\n  - id: broken\n    when: request.metod == "GET"\n    effect: allow\n';

async function metric(harness: Harness, name: string): Promise<number> {
  const { text } = await harness.admin('GET', '/metrics');
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1),
  );
}

const readyz = async (harness: Harness) => {
  const { status, text } = await harness.admin('GET', '/readyz');
  return { status, configuration: (JSON.parse(text) as { checks: { configuration: object } }).checks.configuration };
};

describe('a changed rule file', () => {
  it('takes effect by itself, and is recorded with the hash before and after', async () => {
    const harness = await start({ rules: allowAll('first') });
    const before = await harness.record((await harness.call('/api/a')).decision);
    harness.write('rules.yaml', denyAll('second'));
    await expect.poll(async () => (await harness.call('/api/a')).status, { timeout: waitMs }).toBe(403);
    const after = await harness.record((await harness.call('/api/a')).decision);
    expect([before.rule, after.rule]).toEqual(['first', 'second']);
    expect(harness.reloads()).toEqual([
      expect.objectContaining({
        type: 'reload',
        action: 'loaded',
        trigger: 'watch',
        policy_before: before.policy,
        policy: after.policy,
        configuration: harness.reloads()[0]?.configuration_before,
        needs_restart: [],
        problems: 0,
      }),
    ]);
    expect(after.policy).not.toBe(before.policy);
    expect(await metric(harness, 'postern_reload_total{outcome="loaded"}')).toBe(1);
    expect(await metric(harness, 'postern_reload_last_successful')).toBe(1);
  });

  it('is found by comparison where no event tells of it', async () => {
    const harness = await start({ rules: allowAll('first'), config: { reload: { interval: '100ms' } } });
    // A folder of a folder that is not there yet is watched by nobody.
    mkdirSync(join(harness.folder, 'more/deeper'), { recursive: true });
    writeFileSync(join(harness.folder, 'more/deeper/rules.yaml'), allowAll('elsewhere'));
    harness.configure((config) => config.rules.push('more'));
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBe(1);
    mkdirSync(join(harness.folder, 'more/other/place'), { recursive: true });
    writeFileSync(join(harness.folder, 'more/other/place/rules.yaml'), denyAll('nobody'));
    await expect.poll(async () => (await harness.call('/api/a')).status, { timeout: waitMs }).toBe(403);
  });

  it('is left alone without reload.watch, until somebody asks', async () => {
    const harness = await start({ rules: allowAll('first'), config: { reload: { watch: false, interval: '100ms' } } });
    harness.write('rules.yaml', denyAll('second'));
    // Whoever watched would have seen the change of a file that follows it.
    const watching = await start({ rules: allowAll('first'), config: { reload: { interval: '100ms' } } });
    watching.write('rules.yaml', denyAll('second'));
    await expect.poll(() => watching.reloads().length, { timeout: waitMs }).toBe(1);
    expect((await harness.call('/api/a')).status).toBe(200);
    expect(await harness.admin('POST', '/v1/reload')).toMatchObject({ status: 200 });
    expect((await harness.call('/api/a')).status).toBe(403);
    await expect
      .poll(() => harness.reloads(), { timeout: waitMs })
      .toMatchObject([{ action: 'loaded', trigger: 'admin' }]);
  });

  it('is loaded once for many quick changes, and as it was left', async () => {
    const harness = await start({ rules: allowAll('first') });
    for (let index = 0; index < 100; index += 1) harness.write('rules.yaml', allowAll(`rule-${index}`));
    await expect
      .poll(async () => (await harness.record((await harness.call('/api/a')).decision)).rule, { timeout: waitMs })
      .toBe('rule-99');
    expect(harness.reloads().length).toBeLessThan(5);
  });
});

describe('rules that are no good', () => {
  it('change nothing, and are told in log, metrics, audit log and readiness', async () => {
    const harness = await start({ rules: allowAll('first') });
    harness.write('rules.yaml', broken);
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBe(1);
    expect(await harness.record((await harness.call('/api/a')).decision)).toMatchObject({ rule: 'first', status: 200 });
    const [reload] = harness.reloads();
    expect(reload).toMatchObject({ action: 'refused', problems: 1, policy: reload?.policy_before });
    expect(await metric(harness, 'postern_reload_total{outcome="refused"}')).toBe(1);
    expect(await metric(harness, 'postern_reload_last_successful')).toBe(0);
    const place = `${join(harness.folder, 'rules.yaml')}:3:19: `;
    expect(harness.log.some((line) => (JSON.parse(line).problems?.[0] ?? '').startsWith(place))).toBe(true);
    const ready = await readyz(harness);
    expect(ready.status).toBe(200);
    expect(ready.configuration).toEqual({ ok: true, detail: expect.stringContaining(place) });
    expect(JSON.stringify(ready.configuration)).not.toContain('\\n');

    // Good again, by taking the change back: that is the set in use, and no news.
    harness.write('rules.yaml', allowAll('first'));
    await expect.poll(() => metric(harness, 'postern_reload_last_successful'), { timeout: waitMs }).toBe(1);
    expect((await readyz(harness)).configuration).toEqual({ ok: true });
    expect(harness.reloads()).toHaveLength(1);
  });

  it('are told once for as long as they stay', async () => {
    const harness = await start({ rules: allowAll('first'), config: { reload: { interval: '100ms' } } });
    harness.write('rules.yaml', broken);
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBe(1);
    harness.write('rules.yaml', `${broken}# still\n`);
    harness.write('rules.yaml', denyAll('second'));
    await expect.poll(async () => (await harness.call('/api/a')).status, { timeout: waitMs }).toBe(403);
    await expect
      .poll(() => harness.reloads().map(({ action }) => action), { timeout: waitMs })
      .toEqual(['refused', 'loaded']);
  });

  it.each([
    ['a rule file that is gone', (harness: Reloading) => rmSync(join(harness.folder, 'rules.yaml'))],
    ['a configuration that is gone', (harness: Reloading) => rmSync(harness.configFile)],
    ['a configuration that is no YAML', (harness: Reloading) => harness.write('postern.yaml', 'listen: [')],
    [
      'a configuration with an unknown key',
      (harness: Reloading) => harness.configure((config) => Object.assign(config, { rulez: [] })),
    ],
    [
      'a credential whose secret is not there',
      (harness: Reloading) =>
        harness.configure((config) => {
          config.credentials.other = { from: { file: 'nowhere' }, inject: { header: 'x-key' } };
        }),
    ],
  ])('are kept out with %s', async (_name, spoil) => {
    const harness = await start({ rules: allowAll('first') });
    const good = readFileSync(harness.configFile, 'utf8');
    spoil(harness);
    await expect.poll(() => harness.reloads().map(({ action }) => action), { timeout: waitMs }).toEqual(['refused']);
    expect((await harness.call('/api/a')).status).toBe(200);
    harness.write('postern.yaml', good);
    harness.write('rules.yaml', denyAll('second'));
    await expect.poll(async () => (await harness.call('/api/a')).status, { timeout: waitMs }).toBe(403);
  });

  it('are told apart from a secret that is lost and a registry that is no good: those keep no rule out', async () => {
    const registry = join(mkdtempSync(join(tmpdir(), 'postern-registry-')), 'agents.yaml');
    writeFileSync(registry, 'agents: []\n');
    const harness = await start({ rules: allowAll('first'), config: { agents: { file: registry } } });
    writeFileSync(registry, 'agents: 5\n');
    rmSync(harness.secretFile);
    await harness.sidecar.refreshSecrets();
    harness.write('rules.yaml', denyAll('second'));
    await expect.poll(async () => (await harness.call('/api/a')).reason, { timeout: waitMs }).toBe('rule_denied');
  });
});

describe('POST /v1/reload', () => {
  it('says what was loaded, that nothing has changed, or what is wrong', async () => {
    const harness = await start({ rules: allowAll('first'), config: { reload: { watch: false } } });
    const ask = async () => {
      const { status, text } = await harness.admin('POST', '/v1/reload');
      return { status, ...(JSON.parse(text) as { outcome: string; problems?: { line: number }[] }) };
    };
    expect(await ask()).toMatchObject({ status: 200, outcome: 'unchanged', needs_restart: [] });
    harness.write('rules.yaml', denyAll('second'));
    const loaded = await ask();
    expect(loaded).toMatchObject({ status: 200, outcome: 'loaded' });
    harness.write('rules.yaml', broken);
    expect(await ask()).toMatchObject({
      status: 422,
      outcome: 'refused',
      problems: [{ file: join(harness.folder, 'rules.yaml'), line: 3, column: 19 }],
    });
    // Whoever asks is told each time.
    expect(await ask()).toMatchObject({ status: 422 });
    await expect
      .poll(() => harness.reloads().map(({ action }) => action), { timeout: waitMs })
      .toEqual(['loaded', 'refused', 'refused']);
    expect((await harness.admin('GET', '/v1/reload')).status).toBe(405);
  });

  it('does not wait where a pipe stands in place of the configuration', async () => {
    const harness = await start({ rules: allowAll('first'), config: { reload: { watch: false } } });
    const { configFile } = harness;
    renameSync(configFile, `${configFile}~`);
    execFileSync('mkfifo', [configFile]);
    const { status, text } = await harness.admin('POST', '/v1/reload');
    expect(status).toBe(422);
    expect(JSON.parse(text)).toMatchObject({ problems: [{ file: configFile, message: 'is not a regular file' }] });
    rmSync(configFile);
    renameSync(`${configFile}~`, configFile);
    expect(await harness.admin('POST', '/v1/reload')).toMatchObject({ status: 200 });
  });

  it('counts no rules for ever that are gone', async () => {
    const harness = await start({ rules: allowAll('rule-0'), config: { reload: { watch: false } } });
    const counted = async () => {
      const { text } = await harness.admin('GET', '/metrics');
      return [...text.matchAll(/^postern_rule_matches_total\{rule="([^"]+)"/gm)].map(([, rule]) => rule);
    };
    for (let index = 1; index < 5; index += 1) {
      await harness.record((await harness.call('/api/a')).decision);
      harness.write('rules.yaml', allowAll(`rule-${index}`));
      await harness.admin('POST', '/v1/reload');
    }
    await harness.record((await harness.call('/api/a')).decision);
    // Those of the set before stay until the next one, to be read once more.
    expect(await counted()).toEqual(['rule-3', 'rule-4']);
  });

  it('takes the last of all changes for everybody who asks at once', async () => {
    const harness = await start({ rules: allowAll('first'), config: { reload: { watch: false } } });
    const asked = [harness.admin('POST', '/v1/reload')];
    harness.write('rules.yaml', denyAll('second'));
    for (let index = 0; index < 20; index += 1) asked.push(harness.admin('POST', '/v1/reload'));
    await Promise.all(asked);
    // The record of a later call is behind that of the reload.
    const { status, decision } = await harness.call('/api/a');
    expect(status).toBe(403);
    await harness.record(decision);
    expect(harness.reloads()).toHaveLength(1);
  });
});

describe('a changed configuration', () => {
  it('brings routes, credentials, meters, limits and the log level at once with their rules', async () => {
    const harness = await start({ rules: allowAll('first') });
    writeFileSync(join(harness.folder, 'other'), 'sk-other-0123456789abcdef\n');
    harness.configure((config) => {
      config.routes.push({ ...config.routes[0], name: 'v2', match: { pathPrefix: '/v2/' }, credential: 'other' });
      config.credentials.other = { from: { file: 'other' }, inject: { header: 'x-key' } };
      config.meters.v2_calls = { by: 'agent.id', window: '1m' };
      config.limits = { url: '8KiB', headerCount: 50 };
      config.log = { level: 'warn' };
    });
    await expect.poll(async () => (await harness.call('/v2/a')).status, { timeout: waitMs }).toBe(200);
    expect(harness.upstream.lastField('x-key')).toEqual(['sk-other-0123456789abcdef']);
    const record = await harness.record((await harness.call('/v2/a')).decision);
    expect(record.rates).toEqual({ calls: 2, v2_calls: 2 });
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`x-${index}`, 'y']));
    expect((await harness.call('/api/a', { fields: many })).reason).toBe('headers_too_large');
    const { text } = await harness.admin('GET', '/metrics');
    expect(text).toContain('postern_credential_age_seconds{credential="other"}');
    expect(harness.log.join('')).not.toContain('rules were loaded');
  });

  it('is recorded with its hash before and after, which neither rules nor the order of keys change', async () => {
    const harness = await start();
    const reload = async () => JSON.parse((await harness.admin('POST', '/v1/reload')).text) as { outcome: string };
    harness.configure((config) => {
      config.shutdown = { ...config.shutdown, deadline: '7s' };
    });
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBe(1);
    harness.configure((config) => {
      const entries = Object.entries(config).toReversed();
      for (const [name] of entries) delete config[name];
      Object.assign(config, Object.fromEntries(entries));
    });
    await reload();
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBeGreaterThan(1);
    const [first, second] = harness.reloads();
    expect(first?.configuration).not.toBe(first?.configuration_before);
    expect(first?.policy).toBe(first?.policy_before);
    expect([second?.configuration_before, second?.configuration]).toEqual([first?.configuration, first?.configuration]);
  });

  it('names what needs a restart, and keeps it as it is', async () => {
    const harness = await start({ rules: allowAll('first') });
    harness.configure((config) => {
      config.listen.publicOrigin = 'https://other.example';
      config.listen.trustedProxies = ['127.0.0.1'];
      config.limits = { connections: 5 };
      config.rules = ['other.yaml'];
    });
    harness.write('other.yaml', allowAll('second'));
    await expect.poll(() => harness.reloads().at(-1)?.action, { timeout: waitMs }).toBe('loaded');
    const keys = ['listen.publicOrigin', 'listen.trustedProxies', 'limits.connections'];
    expect(harness.reloads().at(-1)?.needs_restart).toEqual(keys);
    const told = `listen.publicOrigin needs a restart; kept ${publicOrigin}`;
    expect(harness.log.some((line) => (JSON.parse(line) as { msg: string }).msg === told)).toBe(true);
    const asked = JSON.parse((await harness.admin('POST', '/v1/reload')).text) as { needs_restart: object[] };
    expect(asked.needs_restart[0]).toEqual({ key: 'listen.publicOrigin', detail: told });
    expect((await readyz(harness)).configuration).toEqual({ ok: true, detail: expect.stringContaining(told) });
    // The proof names the origin that runs.
    const answer = await harness.call('/api/a');
    expect(await harness.record(answer.decision)).toMatchObject({ rule: 'second', status: 200 });
  });

  it('is refused where it does not fit what is kept', async () => {
    const harness = await start({ rules: allowAll('first') });
    harness.configure((config) => {
      config.listen.clientCertificateField = { format: 'xfcc' };
      config.listen.trustedProxies = ['127.0.0.1'];
      config.routes[0].accept = ['mtls'];
    });
    await expect.poll(() => harness.reloads().map(({ action }) => action), { timeout: waitMs }).toEqual(['refused']);
    expect((await harness.call('/api/a')).status).toBe(200);
  });
});

describe('a request under a changing set', () => {
  it('meets one set whole, as a kubelet swaps a ConfigMap under a stream of requests', async () => {
    const harness = await start({ rules: allowAll('first') });
    const filesOf = (set: number) => ({ 'a.yaml': allowAll(`a-${set}`), 'b.yaml': allowAll(`b-${set}`) });
    const map = mountConfigMap(join(harness.folder, 'mounted'), filesOf(0));
    harness.configure((config) => {
      config.rules = ['mounted'];
    });
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBe(1);

    const sets = 12;
    let isOver = false;
    const stream = Array.from({ length: 4 }, async () => {
      while (!isOver) expect((await harness.call('/api/a')).status).toBe(200);
    });
    for (let set = 1; set <= sets; set += 1) {
      map.update(filesOf(set));
      // Some are waited for, and some are overtaken by the next.
      if (set % 3 !== 0) continue;
      await expect
        .poll(async () => (await harness.record((await harness.call('/api/a')).decision)).rule, { timeout: waitMs })
        .toBe(`a-${set}`);
    }
    isOver = true;
    await Promise.all(stream);

    const hashes = new Map<string, string | null>();
    for (const { rules, policy, rule } of harness.decisions()) {
      if (rule === 'first') continue;
      const [one, other] = rules.map(({ id }) => id);
      expect(other).toBe(one?.replace('a-', 'b-'));
      const known = hashes.get(one ?? '') ?? policy;
      expect(policy).toBe(known);
      hashes.set(one ?? '', policy);
    }
    expect(hashes.size).toBeGreaterThanOrEqual(sets / 3);
    expect(new Set(hashes.values()).size).toBe(hashes.size);
    // No mixture of two sets was ever taken, and none was refused for one.
    expect(harness.reloads().map(({ action }) => action)).not.toContain('refused');
    for (const { policy } of harness.reloads().slice(1)) expect([...hashes.values(), policy]).toContain(policy);
  });

  it('is judged and recorded by the set under which it began', async () => {
    const harness = await start({ rules: allowAll('first'), route: { inspectBody: { json: true } } });
    const body = '{"a":1}';
    const token = harness.mint();
    const head = [
      'POST /api/a HTTP/1.1',
      'host: x',
      `authorization: DPoP ${token}`,
      `dpop: ${harness.proofFor('/api/a', token, 'POST')}`,
      'content-type: application/json',
      `content-length: ${body.length}`,
      'connection: close',
      'expect: 100-continue',
    ];
    const client = new RawClient(harness.port).send(`${head.join('\r\n')}\r\n\r\n`);
    // Asked for the body, it has found its caller good, and waits.
    await client.until((text) => text.includes('100 Continue'));
    const before = await harness.record((await harness.call('/api/a')).decision);
    harness.write('rules.yaml', denyAll('second'));
    await expect.poll(async () => (await harness.call('/api/a')).status, { timeout: waitMs }).toBe(403);
    const answer = await client.send(body).end();
    expect(answer).toContain('HTTP/1.1 200 OK');
    const decision = /postern-decision: (\S+)/i.exec(answer)?.[1] ?? '';
    expect(await harness.record(decision)).toMatchObject({ rule: 'first', policy: before.policy, status: 200 });
  });

  it('goes on with its upstream though its route is gone by then', async () => {
    const harness = await start({ rules: allowAll('first') });
    const held = Promise.withResolvers<() => void>();
    harness.upstream.answerWith((incoming, response) => {
      if (incoming.url?.endsWith('/held') !== true) return void response.end('plain');
      response.writeHead(200).write('first ');
      held.resolve(() => response.end('last'));
    });
    const call = harness.call('/api/held');
    const finish = await held.promise;
    harness.configure((config) => {
      config.routes[0].match.pathPrefix = '/elsewhere/';
      config.routes[0].upstream = 'http://127.0.0.1:1';
    });
    await expect.poll(async () => (await harness.call('/api/a')).reason, { timeout: waitMs }).toBe('no_route');
    finish();
    expect(await call).toMatchObject({ status: 200, text: 'first last' });
    expect((await harness.call('/elsewhere/a')).reason).toBe('upstream_failed');
  });

  it('counts what its agent has under way over a reload', async () => {
    const harness = await start({ rules: allowAll('first'), config: { limits: { agentConcurrency: 1 } } });
    const held = Promise.withResolvers<() => void>();
    harness.upstream.answerWith((_incoming, response) => held.resolve(() => response.end('done')));
    const call = harness.call('/api/a');
    const finish = await held.promise;
    harness.write('rules.yaml', allowAll('second'));
    await expect.poll(() => harness.reloads().length, { timeout: waitMs }).toBe(1);
    expect((await harness.call('/api/a')).reason).toBe('rate_limited');
    finish();
    expect((await call).status).toBe(200);
    harness.upstream.answerWith((_incoming, response) => void response.end('done'));
    expect((await harness.call('/api/a')).status).toBe(200);
  });
});
