/** Arguments that were printed by Python rather than written as JSON. */

const token =
  /\s*(?:(?<open>[[({])|(?<close>[\])}])|(?<comma>,)|(?<colon>:)|(?:[rbuf]?(?<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))|(?<word>[\w.+-]+))/suy;
const words = new Map<string, unknown>([
  ['None', null],
  ['True', true],
  ['False', false],
]);
const depthMax = 32;

/** A dict, list or tuple of strings, numbers, None, True and False; undefined for anything else. */
export function parseLiteral(source: string): unknown {
  let at = 0;
  let groups: Record<string, string | undefined> = {};
  const next = (): boolean => {
    token.lastIndex = at;
    const match = token.exec(source);
    groups = match?.groups ?? {};
    at = match === null ? at : token.lastIndex;
    return match !== null;
  };
  const value = (depth: number): unknown => {
    const { open, text, word } = groups;
    if (text !== undefined) return plain(text.slice(1, -1));
    if (word !== undefined) return words.has(word) ? words.get(word) : Number.isNaN(Number(word)) ? word : Number(word);
    return open === undefined || depth > depthMax ? undefined : group(open, depth);
  };
  const group = (open: string, depth: number): unknown => {
    const items: unknown[] = [];
    const pairs: [string, unknown][] = [];
    while (next() && groups.close === undefined) {
      if (groups.comma !== undefined) continue;
      const item = value(depth + 1);
      if (item === undefined) return undefined;
      if (open !== '{') {
        items.push(item);
        continue;
      }
      if (!next() || groups.colon === undefined || !next()) return undefined;
      pairs.push([String(item), value(depth + 1)]);
    }
    if (groups.close === undefined) return undefined;
    // What is returned is no text's end: the caller goes on behind it.
    groups = {};
    return open === '{' ? Object.fromEntries(pairs) : items;
  };
  return next() && groups.open !== undefined ? value(0) : undefined;
}

function plain(text: string): string {
  return text.replaceAll(/\\(.)/gsu, (_, letter: string) => (letter === 'n' ? '\n' : letter === 't' ? '\t' : letter));
}
