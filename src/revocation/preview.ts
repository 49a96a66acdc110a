/** What a revocation would hit, by what was seen of late. It says what is known, and nothing about what was not seen. */

import type { SeenAgent } from '../store/agent-port.ts';
import type { RevocationEntry } from '../store/port.ts';
import { ownerHandle, subjectHandle } from './handles.ts';

const examplesMax = 10;

export type Preview = {
  /** Agents of the last 30 days that it would stop, now or with their next token. */
  readonly agents: number;
  /** Tokens that were presented and have not expired. */
  readonly tokens: number;
  /** Some of those agents. */
  readonly examples: readonly string[];
};

export type PreviewOptions = {
  readonly scan: () => AsyncIterable<readonly SeenAgent[]>;
  /** What stands for a handle in the record of a token. */
  readonly markOf: (handle: string) => string;
  /** Who answers for an agent that was seen. */
  readonly ownersOf: (agent: SeenAgent) => readonly string[];
};

/** Aliases of one subject are counted once. */
export type PreviewRevocation = (entries: readonly RevocationEntry[]) => Promise<Preview>;

export function createPreview({ scan, markOf, ownersOf }: PreviewOptions): PreviewRevocation {
  return async (entries) => {
    const marked = entries.map((entry) => ({ entry, mark: markOf(entry.handle) }));
    const hit: string[] = [];
    let tokens = 0;
    for await (const piece of scan()) {
      for (const agent of piece) {
        const own = agent.tokens.filter(({ marks, issuedAtMs }) =>
          marked.some(({ entry, mark }) => marks.includes(mark) && issuedAtMs < (entry.issuedBeforeMs ?? Infinity)),
        ).length;
        tokens += own;
        if (own > 0 || entries.some((entry) => names(entry, agent, ownersOf))) hit.push(agent.id);
      }
    }
    return { agents: hit.length, tokens, examples: hit.toSorted().slice(0, examplesMax) };
  };
}

/** Whether the agent itself is meant, whatever tokens it has. What covers only older tokens never means that. */
function names(entry: RevocationEntry, agent: SeenAgent, ownersOf: PreviewOptions['ownersOf']): boolean {
  if (entry.issuedBeforeMs !== null) return false;
  switch (entry.kind) {
    case 'agent':
      return agent.id === entry.value;
    case 'owner':
      return ownersOf(agent).some((owner) => ownerHandle(owner) === entry.handle);
    case 'jkt':
      return agent.keys.includes(entry.value);
    case 'subject':
      return agent.subjects.some((subject) => isSubject(subject, entry));
    default:
      return false;
  }
}

/** `subject` is a JSON array of subject and issuer. */
function isSubject(subject: string, { handle, issuer }: RevocationEntry): boolean {
  const [sub, iss]: unknown[] = JSON.parse(subject);
  return subjectHandle(String(sub), issuer === null ? null : String(iss)) === handle;
}
