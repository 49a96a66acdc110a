/** What a rule made of a request, as text. */

import { relative } from 'node:path';
import type { Change, Explained, RuleExplanation } from '../policy/explain.ts';

const partsMax = 24;

/** One rule with the values of its parts. */
export function writeRule(say: (text?: string) => void, explanation: RuleExplanation): void {
  const { id, effect, mode, result, file, line, when, toFlip } = explanation;
  say(`    ${result.padEnd(12)} ${id} (${effect}${mode === 'shadow' ? ', shadow' : ''}, ${shown(file)}:${line})`);
  let left = partsMax;
  const writePart = (part: Explained, depth: number) => {
    if (left-- <= 0) return;
    const value = part.failed === undefined ? JSON.stringify(part.value) : `no value: ${part.failed}`;
    say(`${' '.repeat(6 + 2 * depth)}${part.source}  =  ${value}`);
    if (part.item !== undefined) {
      say(`${' '.repeat(8 + 2 * depth)}with ${part.item.name}  =  ${JSON.stringify(part.item.value)}`);
    }
    for (const inner of part.parts) writePart(inner, depth + 1);
  };
  writePart(when, 0);
  if (left < 0) say(`      … ${-left} more`);
  const [way] = toFlip;
  if (way !== undefined && way.length > 0) say(`      it would be otherwise if ${changesText(way)}`);
}

export function changesText(changes: readonly Change[]): string {
  return changes.map(({ source, mustBe }) => `${source} were ${JSON.stringify(mustBe)}`).join(', and ');
}

/** As short as it can be opened from here. */
export function shown(file: string): string {
  const near = relative('', file);
  return near === '' || near.startsWith('..') ? file : near;
}
