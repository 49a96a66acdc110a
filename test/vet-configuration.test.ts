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
  writeFileSync(join(folder, 'secret'), 'sk-0123456789');
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
    { by: 'pop.jkt', cost: 'request.method == "POST" ? 5 : 1' },
    { by: 'has(mcp.tool) ? mcp.tool.name : ""', cost: 'has(request.body) ? 5 : 1' },
    { by: 'request.operation', cost: 'pop.body_bound ? 1 : 5' },
  ])('counts by what is known of the request: %j', async (meter) => {
    expect(await problemsOf(meter)).toEqual([]);
  });

  it('can not count by what is known only after counting', async () => {
    expect(await problemsOf({ cost: 'rate.m > 1 ? 5 : 1' })).toEqual([expect.stringMatching(/^meters\.m\.cost /)]);
  });
});

describe('room for held bodies', () => {
  it('must be enough for the largest that a proof may bind', async () => {
    const problems = await problemsOf({}, { boundBody: '2MiB', heldBodies: '1MiB' });
    expect(problems).toEqual([expect.stringContaining('must have room for one body of limits.boundBody')]);
    expect(await problemsOf({}, { boundBody: '2MiB', heldBodies: '2MiB' })).toEqual([]);
  });
});
