/** What is held of a session while it lasts: its last action, and where its destinations first appeared. */

import { LRUCache } from 'lru-cache';
import { type Appearances, appearancesMax, createAppearances, findAppearance, noteAppearance } from './appearances.ts';

/** Hashes of one response that are looked at, and how long they are held after they were last met. */
export const seenMax = appearancesMax;
const seenLifetimeMs = 15 * 60 * 1000;
/** A session unused for so long begins anew. */
const sessionLifetimeMs = 60 * 60 * 1000;

export type Session = {
  /** Hash of the action before; `start` where there is none. */
  previous: number;
  lastAtMs: number;
  /** Null before anything was. */
  seen: Appearances | null;
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
        held = { previous: start, lastAtMs: nowMs, seen: null };
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

/** The action whose response first showed a destination; 0 where none did, or too long ago. */
export function responseThatShowed({ seen }: Session, hash: number, nowMs: number): number {
  const place = seen === null ? 0 : findAppearance(seen, hash);
  if (seen === null || place === 0 || nowMs - (seen.atMs[place - 1] ?? 0) > seenLifetimeMs) return ownRequest;
  return seen.actions[place - 1] ?? ownRequest;
}

function note(session: Session, hash: number, action: number, nowMs: number): void {
  session.seen ??= createAppearances();
  noteAppearance(session.seen, hash, action, nowMs, seenLifetimeMs);
}
