import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type CheckOptions, check } from '../../src/cli/check.ts';
import type { Problem } from '../../src/errors.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { goodRules, secretText, writeConfiguration } from './configuration-file.ts';

async function checkJson(config: string): Promise<{ code: number; problems: readonly Problem[] }> {
  const { io, stdout } = createCapturedIo();
  const code = await check({ config, json: true, env: {} }, io);
  const { ok, problems } = JSON.parse(stdout()) as { ok: boolean; problems: readonly Problem[] };
  expect(ok).toBe(code === 0);
  return { code, problems };
}

afterEach(() => vi.unstubAllEnvs());

const places = (problems: readonly Problem[]) =>
  problems.map(({ file, line, column }) => `${file.replace(/^.*\//, '')}:${line}:${column}`);

describe('postern check', () => {
  it('says what it found good, and writes no audit file', async () => {
    const { file, folder } = writeConfiguration();
    const { io, stdout, stderr } = createCapturedIo();
    expect(await check({ config: file, json: false, env: {} }, io)).toBe(0);
    expect(stdout()).toContain('1 route, 1 rule, 1 issuer,');
    expect(stderr()).toBe('');
    expect(readdirSync(folder)).not.toContain('audit.jsonl');
  });

  it('reports configuration, reference, secret and rule problems at once, in the order of the files', async () => {
    const { file, write } = writeConfiguration({
      listen: { address: '127.0.0.1:0', publicOrigin: 'https://api.agents.example', tlss: {} },
      credentials: {
        'api-key': { from: { file: 'nowhere' }, inject: { header: 'authorization' } },
        other: { from: { env: 'ABSENT' }, inject: { header: 'authorization' } },
        third: { from: { fil: 'x' }, inject: { header: 'authorization' } },
      },
      routes: [
        {
          name: 'api',
          match: {},
          upstream: 'ftp://x',
          audience: 'https://api.agents.example',
          credential: 'no-such-key',
        },
      ],
      meters: { calls: { by: 'agent.idd', window: '1m' } },
    });
    write('rules.yaml', `${goodRules}  - id: everyone-reads\n    when: rate.calls > 1 && 1\n    effect: allow\n`);
    const { code, problems } = await checkJson(file);
    expect(code).toBe(1);
    const messages = problems.map(({ message }) => message).join('\n');
    for (const part of [
      'unknown key listen.tlss',
      'routes[0].upstream',
      'routes[0].credential names no declared credential',
      'credentials.api-key.from names',
      'credentials.other.from names ABSENT',
      'unknown key credentials.third.from.fil',
      'meters.calls.by',
      'rule everyone-reads is declared already',
      'rule everyone-reads: ',
    ]) {
      expect(messages).toContain(part);
    }
    // A name that the configuration declares, in however bad an entry, is known to rules.
    expect(messages).not.toContain('unknown field rate');
    const lines = problems.map(({ file: where, line }) => ({ where, line: line ?? 0 }));
    expect(lines).toEqual(
      lines.toSorted((one, other) => (one.where === other.where ? one.line - other.line : one.where === file ? -1 : 1)),
    );
    expect(places(problems).every((place) => /\.yaml:\d+:\d+$/.test(place))).toBe(true);
  });

  it('reports each problem once where it can be found in two ways', async () => {
    const { file } = writeConfiguration({ unknown: 1, credentials: {} });
    const { problems } = await checkJson(file);
    expect(problems.map(({ message }) => message)).toEqual([
      expect.stringContaining('routes[0].credential'),
      expect.stringContaining('unknown key unknown'),
    ]);
  });

  it.each([
    ['does not parse', 'request.method ==', 3],
    ['does not type-check', 'request.method == 1', 3],
    ['gives no bool', 'request.method', 3],
    ['reads what there is not', 'request.metod == "GET"', 3],
  ])('refuses a rule that %s, at its place', async (_name, when, line) => {
    const { file, write } = writeConfiguration();
    write('rules.yaml', goodRules.replace('request.method == "GET"', when));
    const { code, problems } = await checkJson(file);
    expect(code).toBe(1);
    expect(problems).toMatchObject([{ file: expect.stringMatching(/rules\.yaml$/), line }]);
  });

  const lines = (output: string) => output.split('\n').filter((line) => line !== '');
  const run = async (options: Omit<CheckOptions, 'json' | 'env'>, json = false) => {
    const captured = createCapturedIo();
    const code = await check({ ...options, json, env: {} }, captured.io);
    return { code, output: captured.stdout() };
  };
  const contradiction = 'request.method == "GET" && request.method == "HEAD"';

  it('warns of what is hardly meant, with the place of the condition, and refuses it with --strict only', async () => {
    const { file, write } = writeConfiguration();
    const rules = write('rules.yaml', goodRules.replace('request.method == "GET"', contradiction));
    const { code, output } = await run({ config: file });
    expect(code).toBe(0);
    expect(lines(output).slice(2)).toEqual([
      expect.stringMatching(/rules\.yaml:3:11: warning: rule everyone-reads can never match.*\[never-matches\]$/),
      `        when: ${contradiction}`,
      '              ^',
      '1 warning',
    ]);
    const strict = await run({ config: file, strict: true });
    expect(strict.code).toBe(1);
    expect(strict.output).toContain('not ok, by --strict');
    const { io, stdout: json } = createCapturedIo();
    await check({ config: file, json: true, strict: true, env: {} }, io);
    expect(JSON.parse(json())).toMatchObject({ ok: false, rules: 1 });
    const { problems } = JSON.parse((await run({ config: file }, true)).output);
    expect(problems).toEqual([
      {
        level: 'warning',
        code: 'never-matches',
        file: rules,
        line: 3,
        column: 11,
        rule: 'everyone-reads',
        message: expect.stringContaining('rule everyone-reads can never match'),
        hint: expect.any(String),
      },
    ]);
  });

  it('is content with --strict where there is nothing to warn of', async () => {
    const { file } = writeConfiguration();
    expect((await run({ config: file, strict: true })).code).toBe(0);
  });

  it('gives the cost of each rule', async () => {
    const { file } = writeConfiguration();
    const { ruleCosts } = JSON.parse((await run({ config: file }, true)).output);
    expect(ruleCosts).toMatchObject([{ id: 'everyone-reads', effect: 'allow', mode: 'enforce', line: 2 }]);
    expect(ruleCosts[0].cost).toBeGreaterThan(0);
    const { output } = await run({ config: file, verbose: true });
    expect(output).toMatch(new RegExp(`^ +${ruleCosts[0].cost} {2}everyone-reads {2}allow `, 'm'));
  });

  it('tells errors by code, rule and hint, and puts a caret under each that has a place', async () => {
    const { file, write } = writeConfiguration({ unknown: 1 });
    write('rules.yaml', goodRules.replace('request.method', 'request.metod'));
    const { problems } = JSON.parse((await run({ config: file }, true)).output);
    expect(problems).toMatchObject([
      { level: 'error', code: 'configuration', message: expect.stringContaining('unknown key unknown') },
      {
        level: 'error',
        code: 'expression',
        rule: 'everyone-reads',
        message: 'rule everyone-reads: unknown field request.metod',
        hint: 'did you mean method?',
      },
    ]);
    const { output } = await run({ config: file });
    expect(lines(output).filter((line) => /^ +\^$/.test(line))).toHaveLength(2);
    expect(lines(output)).toContain('        when: request.metod == "GET"');
  });

  it.each([
    ['variable', 'requst.method == "GET"', 'request'],
    ['field', 'token.client_di == "x"', 'client_id'],
    ['meter', 'rate.cals > 1', 'calls'],
    ['function', 'request.path.startWith("/")', 'startsWith'],
    ['route', 'request.method == "GET"', 'api'],
  ])('names the nearest known %s', async (what, when, known) => {
    const { file, write } = writeConfiguration({ meters: { calls: { by: 'agent.id', window: '1m' } } });
    const more = what === 'route' ? '    routes: [apu]\n' : '';
    write('rules.yaml', `rules:\n  - id: a\n    when: ${when}\n    effect: deny\n${more}`);
    const { problems } = JSON.parse((await run({ config: file }, true)).output);
    expect(problems).toMatchObject([{ rule: 'a', hint: `did you mean ${known}?` }]);
  });

  it('writes GitHub annotations, with what would end one early escaped', async () => {
    const { file, folder, write } = writeConfiguration({ 'a%,:b': 1 });
    write('rules.yaml', goodRules.replace('"GET"', '1'));
    const { code, output } = await run({ config: file, format: 'github' });
    expect(code).toBe(1);
    const path = `${folder}/`.replaceAll(':', '%3A').replaceAll(',', '%2C');
    expect(lines(output)).toEqual([
      expect.stringMatching(
        /^::error file=.*postern\.yaml,line=\d+,col=1,title=postern configuration::unknown key a%25,:b/,
      ),
      expect.stringContaining(`::error file=${path}rules.yaml,line=3,col=`),
    ]);
    write('rules.yaml', goodRules.replace('request.method == "GET"', contradiction));
    const good = writeConfiguration();
    good.write('rules.yaml', goodRules.replace('request.method == "GET"', contradiction));
    const { output: warned } = await run({ config: good.file, format: 'github' });
    expect(lines(warned)).toEqual([
      expect.stringMatching(/^::warning file=.*,line=3,col=11,title=postern never-matches::/),
    ]);
  });

  it('is wrong usage where there is no configuration at all', async () => {
    const { folder } = writeConfiguration();
    for (const config of ['/nonexistent/postern.yaml', folder]) {
      const { io, stdout, stderr } = createCapturedIo();
      expect(await check({ config, json: false, env: {} }, io)).toBe(2);
      expect(stdout()).toBe('');
      expect(stderr()).toContain('--config');
    }
  });

  it('colours its verdict on a terminal only', async () => {
    const { file } = writeConfiguration();
    vi.stubEnv('FORCE_COLOR', '1');
    const terminal = createCapturedIo({ isTerminal: true });
    const pipe = createCapturedIo();
    await check({ config: file, json: false, env: {} }, terminal.io);
    await check({ config: file, json: false, env: {} }, pipe.io);
    expect(terminal.stdout()).toContain('\x1b[');
    expect(pipe.stdout()).not.toContain('\x1b');
  });

  it('shows nothing of a secret, and no control characters of a file', async () => {
    const { file, write } = writeConfiguration({ '\x1b[31mred': 1 });
    write('secret', `${secretText}\nsecond line`);
    const { io, stdout } = createCapturedIo();
    expect(await check({ config: file, json: false, env: {} }, io)).toBe(1);
    expect(stdout()).toContain('credentials.api-key.from');
    expect(stdout()).not.toContain('sk-upstream');
    expect(stdout()).not.toContain('\x1b');
  });
});
