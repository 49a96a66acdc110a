/** Revocations as the admin API speaks of them. */

import { createRevocations, isRevocationProblem, type RevocationsOptions, revocationView } from './revoke.ts';

export function createRevocationsApi(options: RevocationsOptions) {
  const revocations = createRevocations(options);
  return {
    /** `problem` names everything that is wrong with the body. */
    async create(body: unknown, author: string): Promise<object | { readonly problem: string }> {
      const entry = await revocations.create(body, author);
      return isRevocationProblem(entry) ? { problem: entry.problems.join('; ') } : revocationView(entry);
    },
    async lift(id: string): Promise<object | null> {
      const entry = await revocations.lift(id);
      return entry === null ? null : revocationView(entry);
    },
    list: async (): Promise<readonly object[]> => (await revocations.list()).map(revocationView),
  };
}
