/** Baselines in the admin API: GET to look at one, POST to act on it. */

import { type AdminRequest, type Answer, authorOf, json, notAllowed, problem, readJson } from './admin-answer.ts';
import { type BaselineAction, baselineActions, type Operate, type Request } from './behaviour/drift/operate.ts';
import { isJsonObject } from './strict-json.ts';

export type AnswerBaselineOptions = {
  /** Null while behaviour is not judged. */
  readonly operate: () => Operate | null;
  readonly isEnabled: boolean;
  readonly record: (change: { action: string; agent: string; author: string; reason: string | null }) => void;
};

export type AnswerBaseline = (request: AdminRequest, agent: string) => Promise<Answer>;

const members = new Set(['action', 'reason', 'before', 'baseline']);
const reasonCharsMax = 1024;
const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;
const unknown = problem(404, 'No such baseline', 'This agent has not called yet, or not for 90 days.');

export function createAnswerBaseline({ operate, isEnabled, record }: AnswerBaselineOptions): AnswerBaseline {
  return async (request, agent) => {
    const { method, query } = request;
    if (method !== 'GET' && method !== 'POST') return notAllowed('GET, POST');
    if (!isEnabled) return problem(404, 'Behaviour is not judged', 'drift.enabled is false.');
    const operating = operate();
    if (operating === null) return problem(503, 'Store unavailable', 'The store has not given the drift secret yet.');
    if (method === 'GET') {
      if (query !== '' && query !== 'export=true') return problem(400, 'Invalid query', 'It takes export=true only.');
      const found = query === '' ? await operating.show(agent) : await operating.export(agent);
      return found === null ? unknown : json(200, found);
    }
    const read = await readJson(request);
    if ('status' in read) return read;
    const asked = readRequest(read.value);
    if (typeof asked === 'string') return problem(400, 'Invalid request', asked);
    const result = await operating.act(agent, asked);
    if (result === null) return unknown;
    if ('problem' in result) return problem(409, 'Not done', String(result.problem));
    record({ action: asked.action, agent, author: authorOf(request), reason: asked.reason });
    return json(200, result);
  };
}

/** What is asked for; a string says what is wrong with it. */
function readRequest(value: unknown): (Request & { readonly reason: string | null }) | string {
  if (!isJsonObject(value) || Object.keys(value).some((key) => !members.has(key))) {
    return `Send an object of ${[...members].join(', ')}.`;
  }
  const { reason = null, before } = value;
  const action = baselineActions.find((candidate) => candidate === value.action);
  if (action === undefined) return `action is one of ${baselineActions.join(', ')}.`;
  if (reason !== null && (typeof reason !== 'string' || reason.length > reasonCharsMax)) {
    return `reason is a text of ${reasonCharsMax} characters at most.`;
  }
  const misplaced = misplacedMember(action, value);
  if (misplaced !== null) return misplaced;
  if (before === undefined) return { action, reason, baseline: value.baseline };
  const beforeMs = typeof before === 'string' && rfc3339.test(before) ? Date.parse(before) : Number.NaN;
  return Number.isNaN(beforeMs) ? 'before is an RFC 3339 time.' : { action, reason, beforeMs };
}

function misplacedMember(action: BaselineAction, value: Readonly<Record<string, unknown>>): string | null {
  if ((action === 'rollback') !== 'before' in value) return 'rollback takes before, and nothing else does.';
  return (action === 'import') === 'baseline' in value ? null : 'import takes baseline, and nothing else does.';
}
