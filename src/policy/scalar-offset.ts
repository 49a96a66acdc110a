/** From an offset in a YAML string's value to the offset in the file where that character was written. */

import type { Scalar } from 'yaml';

/** Exact for block, plain and single-quoted scalars; for double-quoted ones up to a long escape. */
export function scalarOffset(text: string, node: Scalar, offset: number): number {
  const [start, end] = node.range ?? [0, 0];
  const value = typeof node.value === 'string' ? node.value : '';
  const body = bodyStart(text, node, start);
  // Folding and indentation change white space only, so characters that are none are counted instead of offsets.
  let wanted = solidChars(value.slice(0, offset));
  let position = body;
  while (position < end) {
    const width = isSpace(text[position]) ? 0 : charWidth(text, node, position);
    if (width > 0 && wanted === 0) return position;
    if (width > 0 && !isEscapedSpace(text, node, position)) wanted--;
    position += Math.max(width, 1);
  }
  return Math.min(position, Math.max(end - 1, start));
}

function bodyStart(text: string, node: Scalar, start: number): number {
  if (node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED') {
    const lineEnd = text.indexOf('\n', start);
    return lineEnd < 0 ? start : lineEnd + 1;
  }
  return node.type === 'QUOTE_DOUBLE' || node.type === 'QUOTE_SINGLE' ? start + 1 : start;
}

/** How many characters of the file stand for one of the value. */
function charWidth(text: string, node: Scalar, position: number): number {
  if (node.type === 'QUOTE_SINGLE') return text.startsWith("''", position) ? 2 : 1;
  if (node.type !== 'QUOTE_DOUBLE' || text[position] !== '\\') return 1;
  const long: Readonly<Record<string, number>> = { x: 4, u: 6, U: 10 };
  return long[text[position + 1] ?? ''] ?? 2;
}

function isEscapedSpace(text: string, node: Scalar, position: number): boolean {
  return node.type === 'QUOTE_DOUBLE' && text[position] === '\\' && /[nrt \t\n]/.test(text[position + 1] ?? '');
}

function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\n' || character === '\t' || character === '\r';
}

function solidChars(text: string): number {
  let count = 0;
  for (const character of text.split('')) if (!isSpace(character)) count++;
  return count;
}
