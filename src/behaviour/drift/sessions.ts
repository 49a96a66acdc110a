/** What is held of a session while it lasts: its last action, and where its destinations first appeared. */

import { LRUCache } from 'lru-cache';
import { type Appearances, appearancesMax, createAppearances, findAppearance, noteAppearance } from './appearances.ts';
import { hasWords, type Words } from './words.ts';

/** Hashes of one response that are looked at, and how long they are held after they were last met. */
export const seenMax = appearancesMax;
const seenLifetimeMs = 15 * 60 * 1000;
/** Words held of one session: those of its newest 24 KB of responses or so. */
const saidBytesMax = 16 * 1024;
/** Each is looked through in turn when a value is looked for. */
const saidMax = 64;
/** A session unused for so long begins anew. */
const sessionLifetimeMs = 60 * 60 * 1000;

/** The words of a response to an action. */
type Said = { readonly words: Words; readonly action: number; readonly atMs: number };

export type Session = {
  /** Hash of the action before; `start` where there is none. */
  previous: number;
  lastAtMs: number;
  /** Null before anything was. */
  seen: Appearances | null;
  /** Words of the newest responses, newest last. */
  said: Said[];
  saidBytes: number;
};

/** Stands for "nothing yet" as the action before the first. */
export const start = 0xffffffff;
/** Marks a destination that the agent named before any response did. */
const ownRequest = 0;

export type Sessions = {
  readonly get: (agent: string, session: string | null, nowMs: number) => Session;
  readonly delete: (agent: string, session: string | null) => void;
};

/** At most `sessionsMax` sessions, least recently used out first. */
export function createSessions(sessionsMax: number): Sessions {
  const sessions = new LRUCache<string, Session>({ max: sessionsMax });
  return {
    get: (agent, session, nowMs) => {
      const key = session === null ? agent : `${agent}\n${session}`;
      let held = sessions.get(key);
      if (held === undefined || nowMs - held.lastAtMs > sessionLifetimeMs) {
        held = { previous: start, lastAtMs: nowMs, seen: null, said: [], saidBytes: 0 };
        sessions.set(key, held);
      }
      return held;
    },
    delete: (agent, session) => {
      sessions.delete(session === null ? agent : `${agent}\n${session}`);
    },
  };
}

/** Notes the destinations of a response to `action`. One that a request named first stays the agent's own. */
export function noteResponse(session: Session, hashes: Iterable<number>, action: number, nowMs: number): void {
  let count = 0;
  for (const hash of hashes) {
    if (count++ >= seenMax) return;
    note(session, hash, action, nowMs);
  }
}

/** Notes a destination of a request, unless a response showed it before. */
export function noteRequest(session: Session, hash: number, nowMs: number): void {
  note(session, hash, ownRequest, nowMs);
}

/** Notes the words of a response to `action`. */
export function noteWords(session: Session, words: Words, action: number, nowMs: number): void {
  const { said } = session;
  said.push({ words, action, atMs: nowMs });
  session.saidBytes += words.byteLength;
  for (let oldest = said[0]; oldest !== undefined && said.length > 1; oldest = said[0]) {
    const isOver = session.saidBytes > saidBytesMax || said.length > saidMax;
    if (!isOver && nowMs - oldest.atMs <= seenLifetimeMs) return;
    session.saidBytes -= oldest.words.byteLength;
    said.shift();
  }
}

/**
 * The action whose response first showed a destination; 0 where none did, too long ago, or the agent named it before.
 * What has no shape to be known by is looked for by its words.
 */
export function responseThatShowed(session: Session, { hash, words }: Sought, nowMs: number): number {
  const { seen } = session;
  const place = seen === null ? 0 : findAppearance(seen, hash);
  if (seen !== null && place !== 0 && nowMs - (seen.atMs[place - 1] ?? 0) <= seenLifetimeMs) {
    return seen.actions[place - 1] ?? ownRequest;
  }
  if (words === undefined || session.said.length === 0) return ownRequest;
  const sought = words();
  const said = session.said.find((each) => nowMs - each.atMs <= seenLifetimeMs && hasWords(each.words, sought));
  return said?.action ?? ownRequest;
}

type Sought = { readonly hash: number; readonly words?: (() => Words) | undefined };

function note(session: Session, hash: number, action: number, nowMs: number): void {
  session.seen ??= createAppearances();
  noteAppearance(session.seen, hash, action, nowMs, seenLifetimeMs);
}
