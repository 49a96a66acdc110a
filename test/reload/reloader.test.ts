/** What a reload takes of files that change under its hands, and what it ends. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { emptyRegistry } from '../../src/agents/registry.ts';
import { loadConfig } from '../../src/config/load.ts';
import { fingerprintOf } from '../../src/reload/fingerprint.ts';
import { createReloader, discard, type Policy, type Report } from '../../src/reload/reload.ts';
import { vetConfiguration } from '../../src/vet-configuration.ts';
import { type ConfigMap, mountConfigMap } from '../support/config-map.ts';

const env = { KEY: 'sk-upstream-0123456789abcdef' };

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A configuration with one route, and a rule that names it: neither is good without the other. */
function setOf(name: string, changes: object = {}): Readonly<Record<string, string>> {
  const configuration = {
    listen: { address: '127.0.0.1:8080', publicOrigin: 'https://api.agents.example' },
    issuers: [{ issuer: 'https://login.example' }],
    routes: [{ name, match: {}, upstream: 'https://a.example', audience: 'https://x.example', credential: 'k' }],
    credentials: { k: { from: { env: 'KEY' }, inject: { header: 'x-key' } } },
    rules: ['rules.yaml'],
    ...changes,
  };
  const rule = { id: `allow-${name}`, routes: [name], when: 'true', effect: 'allow' };
  return { 'postern.yaml': stringify(configuration), 'rules.yaml': stringify({ rules: [rule] }) };
}

type Started = {
  readonly map: ConfigMap;
  readonly adopted: Policy[];
  readonly reports: Report[];
  readonly reload: () => Promise<Report>;
  readonly current: () => Policy;
};

/** `meanwhile` is done each time that a set has been read and is about to be verified. */
async function start(meanwhile: (map: ConfigMap, time: number) => void = () => {}): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-reloader-'));
  const map = mountConfigMap(folder, setOf('one'));
  const file = join(folder, 'postern.yaml');
  const configuration = await loadConfig(file);
  const fingerprint = await fingerprintOf(file, configuration.config);
  const vetted = await vetConfiguration({ configuration, env, clock: Date.now });
  let current: Policy = { config: configuration.config, vetted };
  const adopted: Policy[] = [];
  const reports: Report[] = [];
  let times = 0;
  closers.push(() => current.vetted.secrets.close());
  const { reload } = createReloader({
    file,
    env,
    clock: Date.now,
    current: () => current,
    fingerprint,
    adopt: (policy) => {
      adopted.push(policy);
      discard(current, policy);
      current = policy;
    },
    registry: () => {
      times += 1;
      meanwhile(map, times);
      return emptyRegistry;
    },
    onSecretChange: undefined,
    onReport: (report) => reports.push(report),
  });
  return { map, adopted, reports, reload: () => reload('watch'), current: () => current };
}

const namesIn = ({ config, vetted }: Policy) => ({
  route: config.routes[0]?.name,
  rules: vetted.ruleSet.rules.map(({ id }) => id),
});

describe('a reload', () => {
  it('takes no set of two moments, and refuses none for being one', async () => {
    const { map, adopted, reports, reload } = await start((during, time) => {
      if (time === 1) during.update(setOf('three'));
    });
    map.update(setOf('two'));
    // The route would be of the second, the rules of the third.
    expect((await reload()).outcome).toBe('loaded');
    expect(adopted.map(namesIn)).toEqual([{ route: 'three', rules: ['allow-three'] }]);
    expect(reports).toHaveLength(1);
  });

  it('gives up on files that never rest, and keeps what it has', async () => {
    const { map, adopted, reload, current } = await start((during, time) => during.update(setOf(`more-${time}`)));
    map.update(setOf('two'));
    expect(await reload()).toMatchObject({
      outcome: 'refused',
      problems: [{ message: expect.stringContaining('changes while it is read') }],
    });
    expect(adopted).toEqual([]);
    expect(namesIn(current())).toEqual({ route: 'one', rules: ['allow-one'] });
  });

  it('takes secrets over where the credentials are the same, and ends those of a set that is dropped', async () => {
    const { map, reload, current } = await start();
    const { secrets } = current().vetted;
    map.update(setOf('two'));
    await reload();
    expect(current().vetted.secrets).toBe(secrets);
    const credentials = { k: { from: { env: 'KEY' }, inject: { header: 'x-other' } } };
    map.update(setOf('two', { credentials }));
    await reload();
    expect(current().vetted.secrets).not.toBe(secrets);

    const ended: string[] = [];
    const policyOf = (name: string) =>
      ({ vetted: { secrets: { close: () => void ended.push(name) } } }) as unknown as Policy;
    const [one, other] = [policyOf('one'), policyOf('other')];
    discard(one, one);
    discard(one, other);
    expect(ended).toEqual(['one']);
  });

  it('does not wait for a configuration that comes from a pipe', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-reloader-'));
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const { fileDigest } = await fingerprintOf(pipe, { rules: [], routes: [] });
    expect(fileDigest).toBe('not a regular file');
  });
});
