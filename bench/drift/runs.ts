/** Recorded runs of agents, in whatever form of messages: who was called with what, and what came back. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createFindDestinations } from '../../src/behaviour/drift/destinations.ts';
import type { Destination } from '../../src/behaviour/drift/judgement.ts';
import { createKeyedHash } from '../../src/behaviour/drift/keyed-hash.ts';
import { createResponseScan, type Findings } from '../../src/behaviour/drift/response-scan.ts';
import { secret } from './masquerade.ts';
import { parseLiteral } from './python-literal.ts';

export type Call = {
  readonly tool: string;
  readonly destinations: readonly Destination[];
  /** What the responses to this call showed: one, as a rule. */
  readonly shown: readonly Findings[];
};

export type Session = {
  /** What its run was part of: a file of one model's runs. */
  readonly file: string;
  readonly suite: string;
  readonly task: string;
  readonly isHijacked: boolean;
  readonly calls: readonly Call[];
};

/** Says what was left out, and why. */
export type Say = (text: string) => void;

/** Its benign run pays the very account that the attacks pay. */
const ambiguous = new Set(['banking user_task_15']);

const hash = createKeyedHash(secret, 'destination');
const findDestinations = createFindDestinations({ hash });
const openScan = createResponseScan(hash);

/** AgentDojo's runs: each suite is an agent, each run a session, hijacked by what a tool gave back. */
export function loadSessions(folder: string, say: Say): Session[] {
  const sessions: Session[] = [];
  let [failed, unclear, silent] = [0, 0, 0];
  for (const { file, entries } of entriesOf(join(folder, 'agentdojo'), say)) {
    for (const entry of entries) {
      const run = record(entry);
      const metadata = { ...run, ...record(run.metadata) };
      const [suite, task] = [String(metadata.suite_name ?? 'unnamed'), String(metadata.user_task_id ?? 'no task')];
      const isAttacked = !isNothing(metadata.injection_task_id);
      // An attack that failed is neither a hijack nor a plain benign run.
      if (isAttacked && metadata.security !== true) failed++;
      else if (ambiguous.has(`${suite} ${task}`)) unclear++;
      else {
        const calls = callsOf(run.messages);
        if (calls.length === 0) silent++;
        sessions.push({ file, suite, task, isHijacked: isAttacked, calls });
      }
    }
  }
  if (failed + unclear > 0) say(`agentdojo: left out ${failed} attacks that failed and ${unclear} ambiguous runs`);
  if (silent > 0) say(`agentdojo: ${silent} of ${sessions.length} runs call no tool`);
  return sessions;
}

/** tau-bench's runs of a benign airline agent. */
export function loadAirline(folder: string, say: Say): Session[] {
  return entriesOf(join(folder, 'taubench'), say).flatMap(({ file, entries }) =>
    entries
      .map((entry) => callsOf(record(entry).traj ?? record(entry).messages))
      .filter((calls) => calls.length > 0)
      .map((calls) => ({ file, suite: 'airline', task: '', isHijacked: false, calls })),
  );
}

/** The runs of every file below a folder: one a line, or a list of them. */
function entriesOf(path: string, say: Say): { file: string; entries: unknown[] }[] {
  if (!existsSync(path)) return [];
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) => /\.jsonl?$/.test(name));
  if (files.length === 0) say(`${path}: no *.jsonl or *.json there`);
  return files.toSorted().map((file) => {
    const text = readFileSync(join(path, file), 'utf8');
    const whole = parse(text);
    if (whole !== undefined) return { file, entries: Array.isArray(whole) ? whole : [whole] };
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const entries = lines.map(parse).filter((entry) => entry !== undefined);
    if (entries.length < lines.length) say(`${file}: ${lines.length - entries.length} lines are no JSON`);
    return { file, entries };
  });
}

/** A call made by hand, and what came back. */
export function callOf(tool: string, body: unknown, response: string): Call {
  return { tool, destinations: findDestinations({ body }), shown: [shownIn(response)] };
}

/** Calls in order, each with what its response showed. */
export function callsOf(messages: unknown): Call[] {
  const calls: Call[] = [];
  const byId = new Map<string, number>();
  /** The first call that has no answer yet, for answers that don't say to what. */
  let unanswered = 0;
  const answer = (id: unknown, content: unknown) => {
    const at = (typeof id === 'string' ? byId.get(id) : undefined) ?? unanswered;
    unanswered = at + 1;
    const call = calls[at];
    if (call !== undefined) calls[at] = { ...call, shown: [...call.shown, shownIn(textOf(content))] };
  };
  for (const entry of list(messages)) {
    const message = record(entry);
    const parts = list(message.content).map(record);
    const made = [
      ...list(message.tool_calls),
      message.function_call,
      ...parts.filter(({ type }) => type === 'tool_use'),
    ];
    for (const each of made) {
      const call = record(each);
      const called = record(call.function);
      const tool = called.name ?? call.name ?? call.function;
      if (typeof tool !== 'string') continue;
      const body = bodyOf(called.arguments ?? call.arguments ?? call.args ?? call.input);
      if (typeof call.id === 'string' && call.id !== '') byId.set(call.id, calls.length);
      calls.push({ tool, destinations: findDestinations({ body }), shown: [] });
    }
    const answers = parts.filter(({ type }) => type === 'tool_result');
    for (const part of answers) answer(part.tool_use_id, part.content);
    if (message.role === 'tool' || message.role === 'function') answer(message.tool_call_id, message.content);
  }
  return calls;
}

function shownIn(text: string): Findings {
  const scan = openScan();
  scan.write(Buffer.from(text));
  return scan.end();
}

/** Arguments as they are, as JSON, or as a literal of Python. */
function bodyOf(raw: unknown): unknown {
  return typeof raw === 'string' ? (parse(raw) ?? parseLiteral(raw) ?? raw) : raw;
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return isNothing(content) ? '' : JSON.stringify(content);
  return content
    .map((part) => {
      const { text, content: inner } = record(part);
      return typeof part === 'string' ? part : typeof text === 'string' ? text : textOf(inner ?? JSON.stringify(part));
    })
    .join('\n');
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || value === '' || value === 'None';
}

/** Undefined for what is no JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
