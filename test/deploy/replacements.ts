/** What only exists in a cluster or under a container's root, and what stands for it on this machine. */

export type Replacements = ReadonlyMap<string, string>;

/** Replaces whole words in one pass, longest first. Throws when one is not found: the table would claim too much. */
export function replaceWords(texts: readonly string[], table: Replacements): readonly string[] {
  const words = [...table.keys()].toSorted((a, b) => b.length - a.length);
  const alternatives = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|');
  const pattern = new RegExp(`(?<![\\w.-])(?:${alternatives})(?![\\w.-])`, 'g');
  const unused = new Set(words);
  const replaced = texts.map((text) =>
    text.replace(pattern, (word) => {
      unused.delete(word);
      return table.get(word) ?? word;
    }),
  );
  if (unused.size > 0) throw new Error(`nothing names ${[...unused].join(', ')} any more`);
  return replaced;
}
