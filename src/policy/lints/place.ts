/** Where in its file a finding is about: the condition of its rule. */

import { isScalar } from 'yaml';
import { readYaml, type YamlSource } from '../../yaml-source.ts';
import { scalarOffset } from '../scalar-offset.ts';
import type { Finding } from './lint.ts';

export type Place = { readonly file: string; readonly line: number; readonly column: number };

/** Reads each file once more. Where one has changed since, the finding has the place of its rule. */
export async function placeFindings(findings: readonly Finding[]): Promise<readonly Place[]> {
  const sources = new Map<string, ReturnType<typeof readYaml>>();
  return Promise.all(
    findings.map(async ({ rule: { id, place } }) => {
      const reading = sources.get(place.file) ?? readYaml(place.file);
      sources.set(place.file, reading);
      const source = await reading;
      return (('value' in source && placeOf(source, id)) || null) ?? { ...place, column: 1 };
    }),
  );
}

function placeOf(source: YamlSource, id: string): Place | null {
  const { rules } = source.value as { readonly rules?: readonly { readonly id?: unknown }[] };
  const index = rules?.findIndex((rule) => rule.id === id) ?? -1;
  const node = index < 0 ? null : source.nodeAt(['rules', index, 'when']);
  if (!isScalar(node)) return null;
  const { line, col } = source.lineCounter.linePos(scalarOffset(source.text, node, 0));
  return { file: source.file, line, column: col };
}
