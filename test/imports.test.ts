import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../src');
const stages = [
  ...['receive', 'route', 'identify', 'agents', 'revocation'],
  ...['behaviour', 'policy', 'credential', 'forward', 'record'],
];
/** Modules that know nothing of Postern's stages and may be used from all of them. */
const leaves = [
  ...['exchange.ts', 'decision.ts', 'drift-scores.ts', 'errors.ts', 'leak-search.ts'],
  ...['strict-json.ts', 'yaml-source.ts', 'proxy-fields.ts', 'whole-body.ts'],
];

type Import = { readonly from: string; readonly to: string; readonly isType: boolean };

const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const imports: readonly Import[] = files.flatMap((file) => importsOf(file));

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = text.matchAll(/(?:^|\n)(?:import|export)\s+(type\s)?[^;]*?from\s+'(\.[^']+)'|import\('(\.[^']+)'\)/g);
  return [...found].map((match) => ({
    from: file,
    to: relative(root, resolve(root, dirname(file), match[2] ?? match[3] ?? '')),
    isType: match[1] !== undefined,
  }));
}

const folderOf = (file: string) => (file.includes('/') ? (file.split('/')[0] ?? '') : '');
const show = ({ from, to }: Import) => `${from} -> ${to}`;

describe('import directions', () => {
  it('finds imports to judge', () => {
    expect(imports.length).toBeGreaterThan(50);
    expect(imports.map(show)).toContain('main.ts -> cli/run.ts');
  });

  it.each(stages)('%s imports itself, leaves, and types of the configuration and the store ports only', (stage) => {
    const foreign = imports.filter(({ from, to, isType }) => {
      if (folderOf(from) !== stage || folderOf(to) === stage || leaves.includes(to)) return false;
      return !(
        isType && ['config/schema.ts', 'store/port.ts', 'store/agent-port.ts', 'store/drift-port.ts'].includes(to)
      );
    });
    expect(foreign.map(show)).toEqual([]);
  });

  it('keeps leaf modules free of everything but leaves', () => {
    const foreign = imports.filter(({ from, to }) => leaves.includes(from) && !leaves.includes(to));
    expect(foreign.map(show)).toEqual([]);
  });

  it('keeps handle free of every stage, adapter and configuration', () => {
    const foreign = imports.filter(({ from, to }) => from === 'handle.ts' && !leaves.includes(to));
    expect(foreign.map(show)).toEqual([]);
  });

  it('lets only compose build adapters', () => {
    const builders = imports.filter(
      ({ from, to, isType }) => folderOf(to) === 'store' && folderOf(from) !== 'store' && !isType,
    );
    expect(new Set(builders.map(({ from }) => from))).toEqual(new Set(['compose.ts']));
  });

  it('lets only main read the environment', () => {
    const readers = files.filter((file) => readFileSync(join(root, file), 'utf8').includes('process.env'));
    expect(readers).toEqual(['main.ts']);
  });

  it('has no barrels', () => {
    expect(files.filter((file) => file.endsWith('index.ts'))).toEqual([]);
  });
});
