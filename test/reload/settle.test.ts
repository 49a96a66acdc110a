import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { z } from 'zod';
import { loadConfig } from '../../src/config/load.ts';
import { type Config, configSchema } from '../../src/config/schema.ts';
import { keptText, reloadable, settle } from '../../src/reload/settle.ts';

async function configOf(changes: object = {}): Promise<Config> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-settle-'));
  const configuration = {
    listen: { address: '127.0.0.1:8080', publicOrigin: 'https://api.agents.example' },
    issuers: [{ issuer: 'https://login.example' }],
    routes: [{ name: 'api', match: {}, upstream: 'https://a.example', audience: 'https://x.example', credential: 'k' }],
    credentials: { k: { from: { env: 'KEY' }, inject: { header: 'x-key' } } },
    rules: ['/rules'],
    ...changes,
  };
  const file = join(folder, 'postern.yaml');
  writeFileSync(file, stringify(configuration));
  return (await loadConfig(file)).config;
}

describe('what of a changed configuration takes effect', () => {
  it('is all of it where nothing that is bound to the start has changed', async () => {
    const wanted = await configOf({
      meters: { calls: { by: 'agent.id', window: '1m' } },
      enforcement: 'shadow',
      reason: { required: true },
      audit: { onFailure: 'continue' },
      limits: { body: '1KiB', agentConcurrency: 3 },
      shutdown: { delay: '3s' },
      log: { level: 'debug' },
    });
    expect(settle(await configOf(), wanted)).toEqual({ config: wanted, kept: [] });
  });

  it.each<[string, object, string]>([
    [
      'listen.address',
      { listen: { address: '127.0.0.1:1', publicOrigin: 'https://api.agents.example' } },
      '127.0.0.1:8080',
    ],
    ['admin.address', { admin: { address: '127.0.0.1:1' } }, '127.0.0.1:9901'],
    ['proof.nonce', { proof: { nonce: 'required' } }, 'off'],
  ])('leaves %s as it runs, and says so', async (key, changes, value) => {
    const running = await configOf();
    const { config, kept } = settle(running, await configOf(changes));
    expect(config).toEqual(running);
    expect(kept.map(keptText)).toEqual([`${key} needs a restart; kept ${value}`]);
  });

  it('names every key that waits, lists and new sections as a whole', async () => {
    const running = await configOf({ store: { kind: 'redis', url: 'redis://:hush@one' } });
    const wanted = await configOf({
      store: { kind: 'redis', url: 'redis://:hush@other', timeout: '1s' },
      issuers: [{ issuer: 'https://login.example' }, { issuer: 'https://other.example' }],
      proof: { window: { past: '1m', future: '1s' } },
      audit: { sinks: ['stdout', 'stdout'], inputs: 'off' },
      limits: { connections: 5, body: '1KiB' },
    });
    const { config, kept } = settle(running, wanted);
    expect(kept.map(({ key }) => key).toSorted()).toEqual([
      'audit.sinks',
      'issuers',
      'limits.connections',
      'proof.window',
      'store.timeout',
      'store.url',
    ]);
    expect(JSON.stringify(kept)).not.toContain('hush');
    expect(config.audit).toEqual({ ...running.audit, inputs: 'off' });
    expect(config.limits).toEqual({ ...running.limits, body: 1024 });
  });

  it('leaves a section out that is new and waits, and keeps one that was taken out', async () => {
    const [without, within] = [
      await configOf(),
      await configOf({
        listen: { address: '127.0.0.1:8080', publicOrigin: 'https://api.agents.example', hosts: ['a'] },
      }),
    ];
    expect(settle(without, within).config.listen).toEqual(without.listen);
    expect(settle(within, without).config.listen).toEqual(within.listen);
  });

  it('knows each reloadable key from the schema', () => {
    const schema = z.toJSONSchema(configSchema, { io: 'input' });
    const unknown = [...reloadable].filter((path) => {
      const found = path
        .split('.')
        .reduce<Record<string, unknown> | undefined>(
          (at, step) => (at?.properties as Record<string, Record<string, unknown>> | undefined)?.[step],
          schema as Record<string, unknown>,
        );
      return found === undefined;
    });
    expect(unknown).toEqual([]);
  });
});
