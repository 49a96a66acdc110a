/**
 * Everything that an agent, or a human with all their agents, could still call with, revoked in one go. The broadest
 * entries come first, so that whatever breaks off has taken away the most. To ask again does no harm: an entry replaces
 * the one of the same handle.
 */

import { StoreFault } from '../errors.ts';
import type { RevocationEntry } from '../store/port.ts';
import { isRevocationProblem, type RevocationProblem, type Revocations } from './revoke.ts';

/** One handle, as a revocation names it. */
export type OffboardedHandle =
  | { readonly agent: string }
  | { readonly owner: string }
  | { readonly jkt: string }
  | { readonly subject: string; readonly issuer?: string };

export type Offboarded = {
  readonly entries: readonly RevocationEntry[];
  /** Handles that could not be revoked. */
  readonly left: readonly OffboardedHandle[];
  /** Why it is not complete; null where it is. */
  readonly problem: string | null;
};

export type OffboardOptions = {
  readonly create: Revocations['create'];
  /** Keys bound to an agent and tokens of its own, as far as they were seen. */
  readonly boundTo: (agent: string) => Promise<readonly OffboardedHandle[]>;
  readonly agentsOf: (owner: string) => Promise<readonly string[]>;
};

export type Offboard = {
  /** Rejects with StoreFault where nothing could be revoked at all. */
  readonly agent: (id: string, reason: unknown, author: string) => Promise<Offboarded | RevocationProblem>;
  readonly owner: (id: string, reason: unknown, author: string) => Promise<Offboarded | RevocationProblem>;
};

export function createOffboard({ create, boundTo, agentsOf }: OffboardOptions): Offboard {
  async function offboard(
    first: readonly OffboardedHandle[],
    findAgents: () => Promise<readonly string[]>,
    reason: unknown,
    author: string,
  ): Promise<Offboarded | RevocationProblem> {
    const entries: RevocationEntry[] = [];
    const left = [...first];
    const revokeLeft = async (): Promise<RevocationProblem | null> => {
      for (let next = left[0]; next !== undefined; next = left[0]) {
        const made = await create({ ...next, reason }, author);
        if (isRevocationProblem(made)) return made;
        entries.push(...made);
        left.shift();
      }
      return null;
    };
    try {
      const problem = await revokeLeft();
      if (problem !== null) return problem;
      const agents = await findAgents();
      for (const agent of agents) if (!first.some((one) => 'agent' in one && one.agent === agent)) left.push({ agent });
      await revokeLeft();
      for (const agent of agents) left.push(...(await boundTo(agent)));
      await revokeLeft();
    } catch (fault) {
      if (!(fault instanceof StoreFault) || entries.length === 0) throw fault;
      return { entries, left, problem: fault.message };
    }
    // What only a mistake of ours could have named is told, not hidden.
    return { entries, left, problem: left.length === 0 ? null : 'some handles are none that can be revoked' };
  }

  return {
    agent: (id, reason, author) => offboard([{ agent: id }], async () => [id], reason, author),
    owner: (id, reason, author) => offboard([{ owner: id }, { subject: id }], () => agentsOf(id), reason, author),
  };
}

/** Tells what could not be begun from what was done. */
export function isOffboarded(result: Offboarded | RevocationProblem): result is Offboarded {
  return 'entries' in result;
}
