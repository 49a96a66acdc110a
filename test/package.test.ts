import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageVersion } from '../src/package-version.ts';
import { goodFields, routeTo, writeConfiguration } from './cli/configuration-file.ts';
import { type Ended, postern, type Running, startPostern } from './cli/postern-process.ts';
import { RawClient } from './support/raw-http.ts';
import { startUpstream } from './support/upstream.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
/** The oldest that `engines` admits. */
const oldestNode = '22.18.0';

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly engines: { readonly node: string };
  readonly optionalDependencies: Readonly<Record<string, string>>;
};
const folder = mkdtempSync(join(tmpdir(), 'postern-package-'));
const consumer = join(folder, 'consumer');
const installed = join(consumer, 'node_modules/postern');
const runtimes = new Map<string, string>([['the pinned one', process.execPath]]);
let packed: string[];

/** npm as a user has it: nothing of the npm that runs these tests, but the same registry. */
async function npm(args: readonly string[], cwd: string): Promise<string> {
  const env = Object.entries(process.env).filter(
    ([name]) => !/^npm_(lifecycle|package|config_local_prefix)/.test(name),
  );
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const { stdout } = await run('npm', [...args, ...quiet], { cwd, env: Object.fromEntries(env), timeout: 120_000 });
  return stdout;
}

beforeAll(async () => {
  // A copy, so that whatever packing does to package.json it does not do to the repository's.
  const copy = join(folder, 'copy');
  mkdirSync(copy);
  const parts = [
    '.npmrc',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'src',
    'rules',
    'schemas',
  ];
  for (const part of [...parts, 'LICENSE', 'README.md', 'CHANGELOG.md']) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const [result] = JSON.parse(await npm(['pack', '--json', '--pack-destination', folder, '--silent'], copy)) as [
    { readonly filename: string; readonly files: readonly { readonly path: string }[] },
  ];
  packed = result.files.map(({ path }) => path);
  expect(readFileSync(join(copy, 'package.json'), 'utf8')).toBe(readFileSync(join(root, 'package.json'), 'utf8'));

  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), '{"private":true}');
  await npm(['install', '--omit=optional', join(folder, result.filename)], consumer);

  const runtime = join(folder, 'runtime');
  mkdirSync(runtime);
  writeFileSync(join(runtime, 'package.json'), '{"private":true}');
  await npm(['install', '--no-save', `node-linux-${process.arch}@${oldestNode}`], runtime);
  runtimes.set(oldestNode, join(runtime, `node_modules/node-linux-${process.arch}/bin/node`));
}, 240_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the package', () => {
  it('holds what runs, the rules, and what a reader needs, and nothing else', () => {
    const texts = ['LICENSE', 'README.md', 'CHANGELOG.md'];
    for (const path of [
      'dist/main.js',
      'rules/allow/scopes.yaml',
      'rules/README.md',
      'schemas/rules.json',
      ...texts,
      'package.json',
    ]) {
      expect(packed).toContain(path);
    }
    const others = packed.filter(
      (path) =>
        !/^(dist\/.*\.js|rules\/.*\.(?:yaml|md)|schemas\/[a-z]+\.json|LICENSE|README\.md|CHANGELOG\.md|package\.json)$/.test(
          path,
        ),
    );
    expect(others).toEqual([]);
  });

  it('pins no Node: it runs on whatever its user has, from the oldest that it names', () => {
    const { engines, optionalDependencies } = JSON.parse(
      readFileSync(join(installed, 'package.json'), 'utf8'),
    ) as typeof manifest;
    expect(Object.keys(manifest.optionalDependencies).filter((name) => name.startsWith('node-linux-'))).toHaveLength(2);
    expect(Object.keys(optionalDependencies)).toEqual(['oidc-provider']);
    expect(engines.node).toBe(`>=${oldestNode.replace(/\.0$/, '')}`);
    expect(existsSync(join(consumer, 'node_modules/oidc-provider'))).toBe(false);
  });
});

describe.each(['the pinned one', oldestNode])('installed, with Node %s,', (name) => {
  const command = () => [runtimes.get(name) ?? '', join(installed, 'dist/main.js')];
  const called = (args: readonly string[]): Promise<Ended> => postern(args, { command: command() });

  it('npx postern tells its version', async () => {
    const PATH = `${dirname(runtimes.get(name) ?? '')}:${process.env.PATH}`;
    const env = { ...process.env, PATH };
    const { stdout } = await run('npx', ['--no-install', 'postern', '--version'], { cwd: consumer, env });
    expect(stdout.trim()).toBe(packageVersion);
    const { stdout: version } = await run('node', ['--version'], { env });
    if (name === oldestNode) expect(version.trim()).toBe(`v${oldestNode}`);
  });

  it('prints its schema, and checks a configuration, good and bad', async () => {
    const schema = await called(['schema']);
    expect(JSON.parse(schema.stdout)).toMatchObject({ title: 'postern.yaml' });
    expect(await called(['check', '--config', writeConfiguration().file])).toMatchObject({ code: 0, stderr: '' });
    expect(await called(['check', '--config', writeConfiguration({ x: 1 }).file])).toMatchObject({ code: 1 });
  });

  it('lets a good call through to its upstream with the credential, refuses the same again, and ends', async () => {
    const upstream = await startUpstream();
    const { file } = writeConfiguration({ routes: [routeTo(upstream.origin)] });
    const sidecar: Running = startPostern(file, { command: command() });
    try {
      const { listening } = await sidecar.listening;
      const { authorization, dpop } = goodFields('/api/x');
      const text = `GET /api/x HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ndpop: ${dpop}\r\n\r\n`;
      const client = new RawClient(Number(new URL(listening).port)).send(text);
      expect(await client.until((received) => received.includes('{"ok":true}'))).toMatch(/^HTTP\/1\.1 200 /);
      await client.send(text).until((received) => received.includes('proof_replayed'));
      client.destroy();
      expect(upstream.lastField('authorization')).toEqual(['sk-upstream-0123456789abcdef']);
      expect(upstream.requests).toHaveLength(1);
    } finally {
      sidecar.kill('SIGTERM');
      await upstream.close();
    }
    expect(await sidecar.ended).toMatchObject({ code: 0 });
  });

  it('says what to install where the demonstration lacks its issuer', async () => {
    const { code, stderr } = await called(['demo']);
    expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining('npm install oidc-provider') });
    expect(stderr).not.toMatch(/^ {4}at /m);
  });
});

describe('with the optional dependency', () => {
  it('takes the whole tour with its own rules', { timeout: 120_000 }, async () => {
    const version = manifest.optionalDependencies['oidc-provider'];
    await npm(['install', '--no-save', '--omit=optional', `oidc-provider@${version}`], consumer);
    for (const runtime of runtimes.values()) {
      const { code, stdout } = await postern(['demo', '--json'], {
        command: [runtime, join(installed, 'dist/main.js')],
      });
      expect(JSON.parse(stdout)).toMatchObject({ ok: true });
      expect(code).toBe(0);
    }
  });
});
