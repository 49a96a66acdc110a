import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { loadConfig } from '../src/config/load.ts';
import { ConfigurationFault } from '../src/errors.ts';
import { vetConfiguration } from '../src/vet-configuration.ts';

/** The problems of a configuration with this meter and these limits; none where it can be started with. */
async function problemsOf(meter: object, limits: object = {}): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-vet-'));
  writeFileSync(join(folder, 'secret'), 'x');
  writeFileSync(join(folder, 'rules.yaml'), 'rules: [{ id: all, when: "true", effect: allow }]');
  const upstream = 'https://api.example';
  const text = stringify({
    listen: { publicOrigin: 'https://agents.example' },
    issuers: [{ issuer: 'https://login.example' }],
    routes: [{ name: 'a', match: {}, upstream, audience: 'https://agents.example', credential: 'key' }],
    credentials: { key: { from: { file: 'secret' }, inject: { header: 'x-key' } } },
    meters: { m: { by: 'agent.id', window: '1m', ...meter } },
    rules: ['rules.yaml'],
    limits,
  });
  writeFileSync(join(folder, 'postern.yaml'), text);
  try {
    const configuration = await loadConfig(join(folder, 'postern.yaml'));
    (await vetConfiguration({ configuration, env: {}, clock: Date.now })).secrets.close();
    return [];
  } catch (fault) {
    if (!(fault instanceof ConfigurationFault)) throw fault;
    return fault.problems.map(({ message }) => message);
  }
}

describe('a meter', () => {
  it.each([
    [{ by: 'request.body == 1 ? "a" : "b"' }, 'request.body'],
    [{ cost: 'has(request.body) ? 5 : 1' }, 'request.body'],
    [{ cost: 'pop.body_bound ? 1 : 5' }, 'pop.body_bound'],
  ])('can not count by what is known only after counting: %j', async (meter, name) => {
    const [key] = Object.keys(meter);
    expect(await problemsOf(meter)).toEqual([`meters.m.${key} reads ${name}, which is known only after counting`]);
  });

  it('counts by what was known before', async () => {
    expect(await problemsOf({ by: 'pop.jkt', cost: 'request.method == "POST" ? 5 : 1' })).toEqual([]);
  });
});

describe('room for held bodies', () => {
  it('must be enough for the largest that a proof may bind', async () => {
    const problems = await problemsOf({}, { boundBody: '2MiB', heldBodies: '1MiB' });
    expect(problems).toEqual([expect.stringContaining('must have room for one body of limits.boundBody')]);
    expect(await problemsOf({}, { boundBody: '2MiB', heldBodies: '2MiB' })).toEqual([]);
  });
});
