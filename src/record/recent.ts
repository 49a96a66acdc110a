/** The latest records, kept in memory so that `GET /v1/decisions/{id}` can explain one. Bounded. */

export type Recent = {
  /** `line` is the record as it goes to the audit log. */
  readonly add: (id: string, line: string) => void;
  readonly find: (id: string) => string | null;
};

/** A ring: adding costs nothing worth mentioning on the request path, and finding is for people. */
export function createRecent(max: number): Recent {
  const ids = new Array<string>(max).fill('');
  const lines = new Array<string>(max).fill('');
  let next = 0;
  return {
    add(id, line) {
      ids[next] = id;
      lines[next] = line;
      next = (next + 1) % max;
    },
    find(id) {
      const index = id === '' ? -1 : ids.indexOf(id);
      return index < 0 ? null : (lines[index] ?? null);
    },
  };
}
