/** AgentDojo's runs of real agents: each suite is an agent, each run a session, hijacked by what a tool gave back. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Agent, createAgent } from '../../src/behaviour/drift/agent.ts';
import { createFindDestinations } from '../../src/behaviour/drift/destinations.ts';
import { createDrift, type Drift, freeze, settle } from '../../src/behaviour/drift/drift.ts';
import { createFleet } from '../../src/behaviour/drift/fleet.ts';
import type { Destination, Judgement } from '../../src/behaviour/drift/judgement.ts';
import { createKeyedHash } from '../../src/behaviour/drift/keyed-hash.ts';
import { createResponseScan } from '../../src/behaviour/drift/response-scan.ts';
import { createRandom, percent, type Row } from './figures.ts';
import { secret } from './masquerade.ts';

export type Call = {
  readonly tool: string;
  readonly destinations: readonly Destination[];
  /** Hashes that the response to this call showed. */
  readonly shown: readonly number[];
};

export type Session = {
  readonly file: string;
  readonly suite: string;
  readonly task: string;
  readonly isHijacked: boolean;
  readonly calls: readonly Call[];
};

/** Its benign run pays the very account that the attacks pay. */
const ambiguous = new Set(['banking user_task_15']);

const hash = createKeyedHash(secret, 'destination');
const findDestinations = createFindDestinations({ hash });
const openScan = createResponseScan(hash);

export function loadSessions(folder: string): Session[] {
  const path = join(folder, 'agentdojo');
  const files = readdirSync(path).filter((name) => name.endsWith('.jsonl'));
  const sessions: Session[] = [];
  for (const file of files.toSorted()) {
    for (const line of readFileSync(join(path, file), 'utf8').split('\n')) {
      if (line.trim() === '') continue;
      const run = record(JSON.parse(line));
      const metadata = record(run.metadata);
      const suite = String(metadata.suite_name);
      const task = String(metadata.user_task_id);
      const isAttacked = metadata.injection_task_id !== null && metadata.injection_task_id !== undefined;
      // An attack that failed is neither a hijack nor a plain benign run.
      if (ambiguous.has(`${suite} ${task}`) || (isAttacked && metadata.security !== true)) continue;
      sessions.push({ file, suite, task, isHijacked: isAttacked, calls: callsOf(run.messages) });
    }
  }
  return sessions;
}

/** Calls in order, each with what its response showed; OpenAI's form of messages, arguments parsed or as text. */
export function callsOf(messages: unknown): Call[] {
  const calls: Call[] = [];
  const byId = new Map<string, number>();
  let answered = 0;
  for (const entry of Array.isArray(messages) ? messages : []) {
    const message = record(entry);
    for (const toolCall of Array.isArray(message.tool_calls) ? message.tool_calls : []) {
      const call = record(toolCall);
      const called = record(call.function);
      const raw = called.arguments;
      const body = typeof raw === 'string' ? parse(raw) : raw;
      if (typeof call.id === 'string') byId.set(call.id, calls.length);
      calls.push({ tool: String(called.name), destinations: findDestinations({ body }), shown: [] });
    }
    if (message.role !== 'tool') continue;
    const id = typeof message.tool_call_id === 'string' ? byId.get(message.tool_call_id) : undefined;
    const at = id ?? answered;
    answered = at + 1;
    const call = calls[at];
    if (call === undefined) continue;
    const scan = openScan();
    scan.write(Buffer.from(textOf(message.content)));
    calls[at] = { ...call, shown: scan.end() };
  }
  return calls;
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  return JSON.stringify(content) ?? '';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export function openSuite(): Drift {
  return createDrift({
    secret,
    fleet: createFleet(),
    settings: { alarmsMax: Number.POSITIVE_INFINITY, readySamples: 200, readyAfterMs: 0 },
  });
}

const sessionIntervalMs = 30 * 60 * 1000;
const callIntervalMs = 4000;
let played = 0;

export type Outcome = {
  readonly score: number;
  readonly destination: number;
  readonly taintedDestination: number;
  readonly isTainted: boolean;
  readonly sequence: number;
};

/** One session, call by call; each feature's highest score of any call. */
export function play(
  drift: Drift,
  agent: Agent,
  session: Session,
  onJudgement: (judgement: Judgement) => void = () => undefined,
): Outcome {
  const began = Date.UTC(2026, 0, 5) + ++played * sessionIntervalMs;
  const id = String(played);
  const best = { score: 0, destination: 0, taintedDestination: 0, isTainted: false, sequence: 0 };
  for (const [index, { tool, destinations, shown }] of session.calls.entries()) {
    const atMs = began + index * callIntervalMs;
    const judgement = drift.judge(agent, { action: tool, session: id, atMs, destinations });
    onJudgement(judgement);
    best.score = Math.max(best.score, judgement.combinedValue);
    best.destination = Math.max(best.destination, judgement.destination);
    best.sequence = Math.max(best.sequence, judgement.sequence);
    if (judgement.tainted) {
      best.isTainted = true;
      best.taintedDestination = Math.max(best.taintedDestination, judgement.destinationEvidence);
    }
    drift.learn(agent, judgement, 'allowed');
    drift.seenInResponse(agent, id, tool, shown, atMs + 1000);
  }
  return best;
}

/** An agent that has lived through these sessions, and learns no more. */
export function agentAfter(drift: Drift, history: readonly Session[], name: string): Agent {
  const agent = createAgent(name);
  for (const session of history) play(drift, agent, session);
  settle(agent, null);
  freeze(agent, Date.UTC(2026, 0, 1));
  return agent;
}

export function shuffle<Item>(items: readonly Item[], seed: number): Item[] {
  const random = createRandom(seed);
  const shuffled = [...items];
  for (let index = shuffled.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    const [left, right] = [shuffled[index], shuffled[other]];
    if (left !== undefined && right !== undefined) [shuffled[index], shuffled[other]] = [right, left];
  }
  return shuffled;
}

export type Feature = 'destination' | 'taintedDestination' | 'sequence' | 'score';

export type SuiteResult = {
  readonly benign: number;
  readonly hijacked: number;
  readonly rows: Record<Feature, Row[]>;
  /** Percent of hijacked, and of benign, sessions with any tainted destination. */
  readonly taintedHits: number;
  readonly taintedFalseAlarms: number;
};

/**
 * Each file's sessions judged by an agent that has lived through the benign sessions of the other files: of all tasks,
 * or (isTaskNew) of all but the one judged.
 */
export function judgeSuite(sessions: readonly Session[], isTaskNew: boolean): SuiteResult {
  const rows: Record<Feature, Row[]> = { destination: [], taintedDestination: [], sequence: [], score: [] };
  const tainted = { hits: 0, falseAlarms: 0 };
  const files = new Set(sessions.map(({ file }) => file));
  const tasks = isTaskNew ? [...new Set(sessions.map(({ task }) => task))] : [null];
  for (const file of files) {
    for (const task of tasks) {
      const judged = sessions.filter((session) => session.file === file && (task === null || session.task === task));
      if (judged.length === 0) continue;
      const history = sessions.filter(
        (session) => session.file !== file && !session.isHijacked && session.task !== task,
      );
      const drift = openSuite();
      const agent = agentAfter(drift, shuffle(history, 1), `${file} ${task}`);
      for (const session of judged) {
        const outcome = play(drift, agent, session);
        for (const feature of ['destination', 'taintedDestination', 'sequence', 'score'] as const) {
          rows[feature].push({ score: outcome[feature], isHit: session.isHijacked });
        }
        if (outcome.isTainted) tainted[session.isHijacked ? 'hits' : 'falseAlarms']++;
      }
    }
  }
  const hijacked = rows.score.filter(({ isHit }) => isHit).length;
  const benign = rows.score.length - hijacked;
  const [taintedHits, taintedFalseAlarms] = [percent(tainted.hits, hijacked), percent(tainted.falseAlarms, benign)];
  return { benign, hijacked, rows, taintedHits, taintedFalseAlarms };
}
