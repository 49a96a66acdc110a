/** The configuration: loader and everything that a start verifies. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parse } from 'yaml';
import type { Configuration } from '../../src/config/load.ts';
import { ConfigurationFault } from '../../src/errors.ts';
import { loadWhole, vetConfiguration } from '../../src/vet-configuration.ts';
import type { Random } from '../support/random.ts';
import { type FuzzTarget, mustHold } from './fuzzer.ts';
import { mutateJson, mutateText, oddValues } from './mutate.ts';
import { checkProblems, stringifyOrJson } from './rules-target.ts';

const env = { API_KEY: 'sk-0123456789' };

export function createConfigTarget(): FuzzTarget {
  const folder = mkdtempSync(join(tmpdir(), 'postern-fuzz-'));
  const file = join(folder, 'postern.yaml');
  writeFileSync(join(folder, 'rules.yaml'), 'rules: [{ id: a, when: "rate.calls > 5", effect: deny }]\n');
  writeFileSync(join(folder, 'secret'), 'sk-0123456789\n');
  writeFileSync(join(folder, 'nonce'), 'x'.repeat(32));
  const load = (text: string): Promise<Configuration> => {
    writeFileSync(file, text);
    return loadWhole(file, env);
  };
  return {
    name: 'config',
    boundMs: 500,
    write: writeConfig,
    async judge(text) {
      let configuration: Configuration;
      try {
        configuration = await load(text);
        const vetted = await vetConfiguration({ configuration, env, clock: Date.now });
        vetted.secrets.close();
        mustHold(vetted.routes.length > 0 && vetted.ruleSet.rules.length > 0, 'there are routes and rules');
      } catch (fault) {
        if (!(fault instanceof ConfigurationFault)) throw fault;
        checkProblems(fault.problems, file, text);
        mustHold(!fault.message.includes('sk-0123456789'), 'no secret in a message');
        return `refused: ${fault.problems[0]?.message.replace(/\d+/g, 'N').slice(0, 60)}`;
      }
      checkConfiguration(configuration);
      // What was understood is what is written: the plainest spelling of the same values gives the same configuration.
      const plain = await load(JSON.stringify(parse(text, { maxAliasCount: 50 })));
      mustHold(
        isDeepStrictEqual(plain.config, configuration.config),
        'the same values, written plainly, are the same configuration',
      );
      return 'accepted';
    },
    close: () => rmSync(folder, { recursive: true }),
  };
}

function checkConfiguration({ config }: Configuration): void {
  const { admin, routes, credentials, limits, listen } = config;
  for (const route of routes) {
    mustHold(Object.hasOwn(credentials, route.credential), 'the credential of a route is declared');
    const { username, password, protocol, search } = new URL(route.upstream);
    mustHold(
      username === '' && password === '' && search === '' && /^https?:$/.test(protocol),
      'an upstream is a plain URL',
    );
    mustHold(route.match.pathPrefix.startsWith('/'), 'a prefix begins with a slash');
    mustHold(
      route.match.methods.every((method) => method !== ('TRACE' as string)),
      'no route takes TRACE',
    );
  }
  mustHold(new Set(routes.map(({ name }) => name)).size === routes.length, 'route names are unique');
  mustHold(new URL(listen.publicOrigin).origin !== 'null', 'the public origin is an origin');
  const host = admin.address.slice(0, admin.address.lastIndexOf(':')).toLowerCase();
  mustHold(
    /^(127\.|\[::1\]|localhost$|\[::ffff:127\.)/.test(host) || admin.tokenFile !== undefined,
    `admin at ${admin.address} asks for a token`,
  );
  for (const [name, value] of Object.entries(limits)) {
    mustHold(typeof value !== 'number' || (Number.isFinite(value) && value >= 0), `limits.${name} is a number`);
  }
}

const seed = {
  listen: {
    address: '127.0.0.1:8080',
    publicOrigin: 'https://api.agents.example',
    hosts: ['api.agents.example'],
    trustedProxies: ['10.0.0.0/8'],
  },
  admin: { address: '127.0.0.1:9901' },
  store: { kind: 'redis', url: 'redis://redis:6379/0', prefix: 'postern:', timeout: '100ms' },
  issuers: [
    {
      issuer: 'https://login.example',
      algorithms: ['ES256'],
      dialect: 'keycloak',
      clockSkew: '30s',
      keysMaxAge: '10m',
    },
  ],
  proof: { accept: ['dpop'], window: { past: '60s', future: '10s' }, nonce: 'required', nonceSecretFile: 'nonce' },
  routes: [
    {
      name: 'api',
      match: { pathPrefix: '/api/', methods: ['GET', 'POST'], hosts: ['api.agents.example'] },
      upstream: 'https://api.example/v1',
      stripPrefix: true,
      audience: 'https://api.agents.example',
      credential: 'api-key',
      forwardFields: ['cookie'],
      maxBody: '1MiB',
      timeouts: { headers: '30s', body: '5m' },
    },
    {
      name: 'other',
      match: { pathPrefix: '/other' },
      upstream: 'http://10.0.0.1:80',
      audience: 'a',
      credential: 'basic',
      accept: ['dpop', 'bearer'],
    },
  ],
  credentials: {
    'api-key': { from: { file: 'secret' }, inject: { header: 'authorization', value: 'Bearer {secret}' } },
    basic: { from: { env: 'API_KEY' }, inject: { basic: { username: 'u' } } },
  },
  meters: { calls: { by: 'agent.id', window: '1m', cost: 'request.method == "POST" ? 5 : 1' } },
  rules: ['rules.yaml'],
  reason: { header: 'agent-reason', required: true, pattern: '[A-Z]+-[0-9]+' },
  audit: { sinks: ['stdout', { file: 'audit.jsonl' }], onFailure: 'deny' },
  limits: { headers: '16KiB', headerCount: 100, body: '10MiB', url: '8KiB', connections: 1000 },
  shutdown: { delay: '1s', deadline: '25s' },
  log: { level: 'info' },
};

const words = [
  ...[
    'listen:',
    'routes:',
    'rules:',
    'issuers:',
    '- ',
    '  ',
    '\t',
    '{',
    '}',
    '[',
    ']',
    ',',
    ': ',
    '#',
    '"',
    "'",
    '|\n',
    '>\n',
    '? ',
    '---\n',
    '...\n',
  ],
  ...[
    '&a ',
    '*a',
    '<<: *a',
    '!!binary ',
    '!!js/function ',
    '!!set',
    'y',
    'no',
    '~',
    '0o17',
    '0x1F',
    '.inf',
    '.nan',
    '1_000',
    '2026-01-01',
  ],
  ...[
    '60s',
    '5m',
    '-1s',
    '1e3s',
    '99999999999d',
    '16KiB',
    '1GiB',
    '2GiB',
    '0B',
    '1.5h',
    '0s',
    'https://',
    'http://u:p@h',
    'https://h/p?q#f',
    'ftp://h',
  ],
  ...[
    '/../',
    '//',
    '/a%2Fb',
    '/%7e',
    '/',
    '0.0.0.0:8080',
    ':::1',
    '[::1]:99999',
    'localhost:0',
    '10.0.0.0/33',
    '::/0',
    '../../..',
    '/dev/zero',
    '/dev/null',
    '/',
  ],
  ...[
    'api-key',
    'basic',
    'secret',
    'env',
    'file',
    'bearer',
    'mtls',
    'entra',
    'okta',
    '(a+)+$',
    '[',
    '\\1',
    '(?=a)',
    'constructor',
    '__proto__',
    'toString',
  ],
];

function writeConfig(random: Random, known: readonly string[]): string {
  if (known.length > 0 && random.percent(10)) return mutateText(random, random.pick(known), words, random.pick(known));
  let value: unknown = structuredClone(seed);
  for (let count = random.pick([0, 1, 1, 1, 2, 3]); count > 0; count--) {
    value = mutateAt(random, value, random.between(1, 4));
  }
  const text = stringifyOrJson(random, value);
  return random.percent(75) ? text : mutateText(random, text, words, text);
}

/** Goes down a few steps before it changes anything, for most of the top is names that must be there. */
function mutateAt(random: Random, value: unknown, depth: number): unknown {
  if (depth === 0 || typeof value !== 'object' || value === null)
    return mutateJson(random, value, [...oddValues, ...words]);
  const keys = Object.keys(value);
  if (keys.length === 0) return mutateJson(random, value);
  const key = random.pick(keys);
  const changed = mutateAt(random, (value as Record<string, unknown>)[key], depth - 1);
  if (Array.isArray(value)) return value.map((item: unknown, index) => (String(index) === key ? changed : item));
  return { ...value, [key]: changed };
}
