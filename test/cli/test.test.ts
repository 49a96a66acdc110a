import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { type TestOptions, test } from '../../src/cli/test.ts';
import { writeFiles } from '../policy/tests/files.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { writeConfiguration } from './configuration-file.ts';
import { postern } from './postern-process.ts';

const rules = `rules:
  - id: reads
    when: request.method == "GET" && "read" in token.scopes
    effect: allow
`;
const passing = '  - { name: reads, token: { scopes: [read] }, expect: { effect: allow } }\n';
const failing = '  - { name: "reads <&> not", expect: { effect: allow } }\n';

async function run(paths: readonly string[], changes: Partial<TestOptions> = {}) {
  const { io, stdout, stderr } = createCapturedIo();
  const options = { paths, watch: false, json: false, stopped: Promise.resolve(), ...changes };
  return { code: await test(options, io), stdout: stdout(), stderr: stderr() };
}

const folderWith = (cases: string) => writeFiles({ 'x.yaml': rules, 'x.test.yaml': `cases:\n${cases}` });

describe('postern test', () => {
  it('ends with 0 where every case is as expected, and names what was not covered', async () => {
    const { code, stdout } = await run([folderWith(passing)]);
    expect(code).toBe(0);
    expect(stdout).toContain('1 passed, 0 failed, coverage 50%');
    expect(stdout).toMatch(/not seen not matching: reads \(.*x\.yaml:2\)/);
  });

  it('ends with 1 where a case fails, and shows what was expected, what came, and why', async () => {
    const { code, stdout } = await run([folderWith(passing + failing)]);
    expect(code).toBe(1);
    expect(stdout).toContain('1 of 2 failed');
    expect(stdout).toMatch(/x\.test\.yaml:3: reads <&> not/);
    expect(stdout).toMatch(/effect\n +expected +"allow"\n +actual +"deny"/);
    expect(stdout).toMatch(/"read" in token\.scopes {2}= {2}false/);
    expect(stdout).toMatch(/token\.scopes {2}= {2}\[\]/);
    expect(stdout).toContain('it would be otherwise if "read" in token.scopes were true');
  });

  it('explains every rule of the route that allows, where a call should have passed and none decided', async () => {
    const folder = writeFiles({
      'x.yaml': `rules:
  - { id: posts, when: 'request.method == "POST" && agent.registered', effect: allow }
  - { id: elsewhere, routes: [b], when: 'request.method == "POST" && agent.registered', effect: allow }
  - { id: never, when: 'request.method == "DELETE"', effect: deny }
`,
      'x.test.yaml': 'cases: [{ name: n, route: a, request: { method: POST }, expect: { effect: allow } }]',
    });
    const { stdout } = await run([folder]);
    expect(stdout).toMatch(/not matched {2}posts/);
    expect(stdout).toContain('it would be otherwise if agent.registered were true');
    expect(stdout).not.toMatch(/matched {2}(elsewhere|never)/);
  });

  it('ends with 1 where less is covered than there should be', async () => {
    const folder = folderWith(passing);
    expect((await run([folder], { minCoverage: 50 })).code).toBe(0);
    const { code, stdout } = await run([folder], { minCoverage: 51 });
    expect(code).toBe(1);
    expect(stdout).toContain('51%');
  });

  it('ends with 2 where there is nothing that can be run', async () => {
    const { code, stderr } = await run([folderWith('  - { name: n, expect: { effekt: allow } }\n')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/x\.test\.yaml:2:\d+: unknown key cases\[0\]\.expect\.effekt; did you mean "effect"\?/);
    expect((await run([writeFiles({ 'x.yaml': rules })])).code).toBe(2);
    expect((await run(['/nonexistent/rules'])).code).toBe(2);
    expect((await run([], { config: '/nonexistent/postern.yaml' })).code).toBe(2);
  });

  it('gives all of it as one JSON value', async () => {
    const { stdout } = await run([folderWith(passing + failing)], { json: true });
    expect(JSON.parse(stdout)).toMatchObject({
      ok: false,
      passed: 1,
      failed: 1,
      problems: [],
      cases: [
        { name: 'reads', line: 2, ok: true, effect: 'allow', rule: 'reads', matches: ['reads'] },
        {
          ok: false,
          mismatches: [{ what: 'effect', expected: 'allow', actual: 'deny' }],
          reason: 'scope_insufficient',
          explained: [{ id: 'reads', result: 'not matched', toFlip: [[{ source: '"read" in token.scopes' }]] }],
        },
      ],
      coverage: { percent: 100, rules: [{ id: 'reads', matched: 1, unmatched: 1 }] },
    });
  });

  it('writes JUnit XML', async () => {
    const folder = folderWith(passing + failing);
    const junit = join(folder, 'junit.xml');
    await run([folder], { junit });
    const xml = readFileSync(junit, 'utf8');
    expect(xml).toContain('<testsuites name="postern test" tests="2" failures="1" errors="0"');
    expect(xml).toMatch(/<testcase [^>]*name="reads &lt;&amp;&gt; not" [^>]*line="3"[^>]*><failure message="effect: /);
    expect(xml.match(/<testcase /g)).toHaveLength(2);
    expect(xml).toContain('it would be otherwise if &quot;read&quot; in token.scopes were true');
    const { code } = await run([folder], { junit: '/nonexistent/junit.xml' });
    expect(code).toBe(2);
  });

  it('shows in JUnit XML that too little is covered, where that is asked for', async () => {
    const folder = folderWith(passing);
    const junit = join(folder, 'junit.xml');
    expect((await run([folder], { junit, minCoverage: 80 })).code).toBe(1);
    const low = readFileSync(junit, 'utf8');
    expect(low).toContain('<testsuites name="postern test" tests="2" failures="1" errors="0"');
    expect(low).toMatch(
      /<testcase classname="coverage" name="at least 80%" time="0"><failure message="coverage is 50%/,
    );
    expect(low).toContain('reads');
    expect((await run([folder], { junit, minCoverage: 50 })).code).toBe(0);
    const enough = readFileSync(junit, 'utf8');
    expect(enough).toContain('tests="2" failures="0" errors="0"');
    expect(enough).toContain('name="at least 50%"');
    expect(enough).not.toContain('<failure');
  });

  it('takes rules, routes and meters from a configuration, without its secrets', async () => {
    const { file, write, folder } = writeConfiguration({
      rules: ['rules'],
      meters: { calls: { by: 'agent.id', window: '1m' } },
      credentials: { 'api-key': { from: { env: 'NOT_HERE' }, inject: { header: 'authorization' } } },
    });
    mkdirSync(join(folder, 'rules'));
    write('rules/x.yaml', 'rules: [{ id: all, when: rate.calls < 9, effect: allow, routes: [api] }]');
    const cases = `cases:
  - { name: by path, request: { path: /api/x }, expect: { rule: all, values: { route.name: api } } }
  - { name: nowhere, request: { path: /x }, expect: { reason: no_route } }
  - { name: by name, route: api, rate: { calls: 9 }, expect: { reason: no_matching_rule } }
`;
    write('rules/x.test.yaml', cases);
    expect(await run([], { config: file })).toMatchObject({ code: 0, stderr: '' });
    write('rules/x.test.yaml', `${cases}  - { name: misspelt, route: { name: apis }, expect: { reason: no_route } }\n`);
    expect(await run([], { config: file })).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/x\.test\.yaml:5:\d+: unknown route apis; did you mean api\?/),
    });
    write('rules/x.test.yaml', cases);
    write('rules/x.yaml', 'rules: [{ id: all, when: rate.cals < 9, effect: allow, routes: [apis] }]');
    const { code, stderr } = await run([], { config: file });
    expect(code).toBe(2);
    expect(stderr).toContain('unknown route apis; did you mean api?');
    expect(stderr).toContain('unknown field rate.cals; did you mean calls?');
  });

  it('runs again when a file changes, until it is stopped', async () => {
    const folder = folderWith(failing);
    const { io, stdout, stderr } = createCapturedIo();
    const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
    const ended = test({ paths: [folder], watch: true, json: false, stopped }, io);
    await vi.waitFor(() => expect(stderr()).toContain('watching for changes'), 5000);
    expect(stdout()).toContain('0 passed, 1 failed');
    writeFileSync(join(folder, 'x.test.yaml'), `cases:\n${passing}`);
    await vi.waitFor(() => expect(stdout()).toContain('1 passed, 0 failed'), 5000);
    writeFileSync(join(folder, 'x.yaml'), rules.replace('GET', 'PUT'));
    await vi.waitFor(() => expect(stdout().match(/0 passed, 1 failed/g)).toHaveLength(2), 5000);
    stop();
    expect(await ended).toBe(0);
  });

  it('does not take its own report for a change', async () => {
    const folder = folderWith(passing);
    const { io, stdout, stderr } = createCapturedIo();
    const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
    const ended = test({ paths: [folder], junit: join(folder, 'report.xml'), watch: true, json: false, stopped }, io);
    await vi.waitFor(() => expect(stderr()).toContain('watching for changes'), 5000);
    const runs = () => stdout().match(/passed, \d failed/g)?.length ?? 0;
    writeFileSync(join(folder, 'x.test.yaml'), `cases:\n${passing}# changed\n`);
    await vi.waitFor(() => expect(runs()).toBeGreaterThan(1), 5000);
    // Each run would bring about another one, for ever.
    await expect(vi.waitFor(() => expect(runs()).toBeGreaterThan(4), 1500)).rejects.toThrow();
    stop();
    await ended;
  });

  it('is a command, with its exit codes', async () => {
    const folder = folderWith(passing + failing);
    expect(await postern(['test', folder])).toMatchObject({ code: 1, stderr: '' });
    expect(await postern(['test', folder, '--filter', 'not'])).toMatchObject({ code: 1 });
    expect(await postern(['test', folder, '--min-coverage', '101'])).toMatchObject({ code: 2 });
    expect(await postern(['test'], { cwd: folder })).toMatchObject({ code: 2 });
  });
});
