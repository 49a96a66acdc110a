/** Revocations as the admin API speaks of them. */

import { createRevocations, isRevocationProblem, type RevocationsOptions, revocationView } from './revoke.ts';

export type RevocationsApiOptions = RevocationsOptions & {
  /** Told what was done, with the entry as the admin API shows it: revoking is itself on the record. */
  readonly onChange: (action: 'revoked' | 'lifted', entry: object) => void;
};

export function createRevocationsApi(options: RevocationsApiOptions) {
  const revocations = createRevocations(options);
  return {
    /** `problem` names everything that is wrong with the body. */
    async create(body: unknown, author: string): Promise<object | { readonly problem: string }> {
      const entry = await revocations.create(body, author);
      if (isRevocationProblem(entry)) return { problem: entry.problems.join('; ') };
      const view = revocationView(entry);
      options.onChange('revoked', view);
      return view;
    },
    async lift(id: string): Promise<object | null> {
      const entry = await revocations.lift(id);
      if (entry === null) return null;
      const view = revocationView(entry);
      options.onChange('lifted', view);
      return view;
    },
    list: async (): Promise<readonly object[]> => (await revocations.list()).map(revocationView),
  };
}
