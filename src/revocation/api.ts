/** Revocations as the admin API speaks of them. */

import type { PreviewRevocation } from './preview.ts';
import { isRevocationProblem, type Revocations, revocationView } from './revoke.ts';

const limitUsual = 100;
const limitMax = 1000;

type Problem = { readonly problem: string };

export function createRevocationsApi(revocations: Revocations, preview: PreviewRevocation) {
  return {
    /** What create would hit, without doing it. */
    async preview(body: unknown): Promise<object | Problem> {
      const entries = revocations.prepare(body, '');
      if (isRevocationProblem(entries)) return { problem: entries.problems.join('; ') };
      return { dry_run: true, ...(await preview(entries)) };
    },
    /** `problem` names everything that is wrong with the body. A subject with aliases has its other entries beside. */
    async create(body: unknown, author: string): Promise<object | Problem> {
      const entries = await revocations.create(body, author);
      if (isRevocationProblem(entries)) return { problem: entries.problems.join('; ') };
      const [first = {}, ...aliases] = entries.map(revocationView);
      return aliases.length === 0 ? first : { ...first, aliases };
    },
    async lift(id: string, author: string): Promise<object | null> {
      const entry = await revocations.lift(id, author);
      return entry === null ? null : revocationView(entry);
    },
    /** `query` is what follows the question mark. */
    async list(query: string): Promise<object | Problem> {
      const page = readPage(new URLSearchParams(query));
      if ('problem' in page) return page;
      const { entries, next } = await revocations.list(page);
      return { revocations: entries.map(revocationView), next };
    },
  };
}

function readPage(query: URLSearchParams): { limit: number; cursor: string | null } | Problem {
  const unknown = [...query.keys()].find((key) => key !== 'limit' && key !== 'cursor');
  if (unknown !== undefined) return { problem: 'the query takes limit and cursor only' };
  const limit = Number(query.get('limit') ?? limitUsual);
  if (!Number.isInteger(limit) || limit < 1 || limit > limitMax) return { problem: `limit must be 1 to ${limitMax}` };
  const cursor = query.get('cursor');
  if (cursor !== null && !/^\d{16}:[A-Za-z0-9_-]{1,128}$/.test(cursor)) {
    return { problem: 'cursor must be the next of an earlier answer' };
  }
  return { limit, cursor };
}
