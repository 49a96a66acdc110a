/** Agents in the admin API: who they are, what was seen of them, and how to be rid of them. */

import { type AdminRequest, type Answer, authorOf, json, notAllowed, problem, readJson } from './admin-answer.ts';
import type { AnswerBaseline } from './admin-baseline.ts';
import type { AgentViews, FoundAgent } from './agents/views.ts';
import { agentHandle, jktHandle, ownerHandle, subjectHandle } from './revocation/handles.ts';
import { isOffboarded, type Offboard, type OffboardedHandle } from './revocation/offboard.ts';
import { revocationView } from './revocation/revoke.ts';
import type { SeenAgent } from './store/agent-port.ts';
import type { RevocationEntry } from './store/port.ts';
import { isJsonObject } from './strict-json.ts';

const idBytesMax = 16_384;

export type AnswerAgentsOptions = {
  readonly views: AgentViews;
  readonly offboard: Offboard;
  readonly baseline: AnswerBaseline;
  /** Entries in force of a handle. */
  readonly revocationsOf: (handle: string) => readonly RevocationEntry[];
};

/** Answers what is about agents; null for everything else. */
export function createAnswerAgents(options: AnswerAgentsOptions) {
  const { views, offboard } = options;
  return async (request: AdminRequest): Promise<Answer | null> => {
    const { method, path, query } = request;
    const [collection = '', encoded, action, ...more] = path.slice('/v1/'.length).split('/');
    const isAbout = path.startsWith('/v1/') && (collection === 'agents' || collection === 'owners');
    if (!isAbout || more.length > 0) return null;
    if (encoded === undefined) {
      if (collection === 'owners') return null;
      if (method !== 'GET') return notAllowed('GET');
      const page = await views.list(query);
      return 'problem' in page ? problem(400, 'Invalid query', page.problem) : json(200, page);
    }
    const id = decode(encoded);
    if (id === null) return problem(400, 'Invalid id', 'Percent-encode the id as UTF-8.');
    if (action === 'offboard') {
      return method === 'POST'
        ? answerOffboard(request, id, offboard[collection === 'agents' ? 'agent' : 'owner'])
        : notAllowed('POST');
    }
    if (action === 'baseline' && collection === 'agents') return options.baseline(request, id);
    if (action !== undefined || collection === 'owners') return null;
    if (method !== 'GET') return notAllowed('GET');
    const found = await views.find(id);
    if (found === null) return problem(404, 'No such agent', 'It is not registered, and was not seen in 30 days.');
    const handles = handlesAgainst(id, found);
    const revocations = handles.flatMap((handle) => options.revocationsOf(handle)).map(revocationView);
    return json(200, { ...found.view, revocations });
  };
}

async function answerOffboard(request: AdminRequest, id: string, offboard: Offboard['agent']): Promise<Answer> {
  const read = await readJson(request);
  if ('status' in read) return read;
  const body = isJsonObject(read.value) ? read.value : {};
  if (Object.keys(body).some((key) => key !== 'reason')) {
    return problem(400, 'Invalid offboarding', 'The body takes reason only.');
  }
  const result = await offboard(id, body.reason, authorOf(request));
  if (!isOffboarded(result)) return problem(400, 'Invalid offboarding', result.problems.join('; '));
  const entries = result.entries.map(revocationView);
  if (result.problem === null) return json(200, { entries });
  const detail = `${result.problem}. What was revoked stays so; ask again for the rest.`;
  return problem(503, 'Offboarding is not complete', detail, { entries, left: result.left });
}

/** What is bound to an agent: its keys, and itself as the subject of tokens that others may present for it. */
export function boundHandles(agent: SeenAgent | null): readonly OffboardedHandle[] {
  if (agent === null) return [];
  // RFC 7638: tokens may name keys by anything; what is no SHA-256 thumbprint was never proved and can't be revoked.
  const keys = agent.keys.filter((key) => /^[A-Za-z0-9_-]{43}$/.test(key)).map((jkt) => ({ jkt }));
  return [...ownSubjects(agent), ...keys];
}

function ownSubjects({ id, subjects }: SeenAgent): readonly { readonly subject: string; readonly issuer: string }[] {
  return subjects.flatMap((text) => {
    const [subject, issuer]: unknown[] = JSON.parse(text);
    return subject === id ? [{ subject: id, issuer: String(issuer) }] : [];
  });
}

/** Handles by which everything that this agent does is revoked. */
function handlesAgainst(id: string, { seen, owners }: FoundAgent): readonly string[] {
  const subjects = seen === null ? [] : ownSubjects(seen);
  const all = [
    agentHandle(id),
    ...owners.map(ownerHandle),
    ...subjects.flatMap(({ subject, issuer }) => [subjectHandle(subject, issuer), subjectHandle(subject, null)]),
    ...(seen?.keys ?? []).map(jktHandle),
  ];
  return [...new Set(all)];
}

function decode(encoded: string): string | null {
  if (encoded === '' || encoded.length > idBytesMax) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}
