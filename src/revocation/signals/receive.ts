/** One security event token on its way from a transmitter to its effect, however it came. */

import { LRUCache } from 'lru-cache';
import { Fault } from '../../errors.ts';
import type { RevocationEntry } from '../../store/port.ts';
import { isRevocationProblem, type Revocations } from '../revoke.ts';
import { type Demand, eventTypes, otherEvent } from './event-types.ts';
import { eventTimeOf, reasonFor, statedText } from './reason.ts';
import {
  audienceProblem,
  type EventPayload,
  type ReadEventsOptions,
  readEvents,
  type SecurityEvent,
  type SetProblem,
} from './security-event.ts';
import type { Mapped, Target } from './subjects.ts';

export type SignalOutcome =
  | 'revoked'
  | 'lifted'
  | 'noted'
  | 'ignored'
  | 'unmapped'
  | 'duplicate'
  | 'refused'
  | 'failed';

export type ReceiveOptions = ReadEventsOptions & {
  /** Form, type and signature. */
  readonly verify: (
    raw: string,
  ) => Promise<
    { readonly payload: EventPayload } | { readonly fault: 'form' | 'signature' | 'keys'; readonly problem: string }
  >;
  readonly mapSubject: (subject: unknown) => Mapped;
  readonly revocations: Pick<Revocations, 'create' | 'lift'>;
  /** Entries in force by what they revoke, as new as can be had. */
  readonly entriesOf: (target: Target) => Promise<readonly RevocationEntry[]>;
  /** How long revocations of older tokens are kept, counted from the event. */
  readonly keepForMs: number;
  readonly clock: () => number;
  readonly count: (event: string, outcome: SignalOutcome) => void;
  /** For the log: what came of an event, or why none was taken. Holds sanitized text only. */
  readonly note: (about: Readonly<Record<string, unknown>>, message: string) => void;
  readonly onVerification: () => void;
};

/**
 * Null once every effect of the token is durable; a problem where it is not to be sent again. Rejects where the sender
 * should try again: the store or the keys are out of reach.
 */
export type ReceiveSet = (raw: string) => Promise<SetProblem | null>;

type Planned = {
  readonly event: SecurityEvent;
  readonly name: string;
  readonly demand: Demand;
  readonly mapped: Mapped;
};

const rememberedMax = 10_000;

/** Prepares the reception from one transmitter. */
export function createReceive(options: ReceiveOptions): ReceiveSet {
  const { clock, count, note, mapSubject } = options;
  // To receive an event again does no harm, so this only saves work, and may forget.
  const received = new LRUCache<string, true>({ max: rememberedMax });
  const act = createAct(options);

  function plan(event: SecurityEvent): Planned {
    const type = eventTypes.get(event.type);
    // RFC 8417 §2.2: an event type that is not understood is passed over.
    const demand = type?.demand(event.payload) ?? 'ignore';
    const isAboutSubject = demand === 'end_tokens' || demand === 'disable' || demand === 'enable';
    return { event, name: type?.name ?? otherEvent, demand, mapped: isAboutSubject ? mapSubject(event.subject) : [] };
  }

  async function take(raw: string): Promise<SetProblem | null> {
    const verified = await options.verify(raw);
    if ('fault' in verified) return problemOf(verified);
    const foreign = audienceProblem(verified.payload, options);
    if (foreign !== null) return foreign;
    const read = readEvents(verified.payload, options, clock());
    if ('err' in read) return read;
    if (received.has(read.jti)) {
      count(otherEvent, 'duplicate');
      return null;
    }
    const planned = read.events.map(plan);
    // Before any effect: nobody is told that half of a token was taken.
    if (planned.some(({ mapped }) => mapped === 'foreign')) {
      return { err: 'access_denied', description: 'The subject is of an issuer that you do not speak for here.' };
    }
    for (const one of planned) count(one.name, await act(one, read.jti));
    received.set(read.jti, true);
    return null;
  }

  return async (raw) => {
    try {
      const problem = await take(raw);
      if (problem === null) return null;
      count(otherEvent, 'refused');
      note({ err: problem.err, problem: problem.description }, 'a security event token was refused');
      return problem;
    } catch (fault) {
      count(otherEvent, 'failed');
      throw fault;
    }
  };
}

/** Prepares what events do. */
function createAct({ revocations, entriesOf, clock, keepForMs, note, onVerification, issuer }: ReceiveOptions) {
  const author = `ssf:${issuer}`;
  // Tokens may come in another order than their events happened.
  const enabledAtMs = new LRUCache<string, number>({ max: rememberedMax });

  async function revoke(targets: readonly Target[], one: Planned, jti: string): Promise<SignalOutcome> {
    const { event, name, demand } = one;
    const reason = reasonFor(name, event, jti);
    let outcome: SignalOutcome = 'ignored';
    for (const target of demand === 'disable' ? withOwners(targets) : targets) {
      if (demand === 'disable' && event.happenedAtMs < (enabledAtMs.get(keyOf(target)) ?? 0)) continue;
      const times = timesOf(target, demand, event.happenedAtMs, keepForMs);
      if (times.expires_at !== undefined && Date.parse(times.expires_at) <= clock()) continue;
      const { kind, value, issuer: of } = target;
      const made = await revocations.create(
        { [kind]: value, ...(of === null ? {} : { issuer: of }), ...times, reason },
        author,
      );
      if (isRevocationProblem(made)) {
        note({ event: name, problem: made.problems.join('; ') }, 'an event asks for what cannot be revoked');
        return 'unmapped';
      }
      outcome = 'revoked';
    }
    return outcome;
  }

  /** RISC §2.4: takes back what events of this transmitter did before, and nothing that others did. */
  async function enable(targets: readonly Target[], { happenedAtMs }: SecurityEvent): Promise<SignalOutcome> {
    let outcome: SignalOutcome = 'ignored';
    for (const target of withOwners(targets)) {
      enabledAtMs.set(keyOf(target), Math.max(happenedAtMs, enabledAtMs.get(keyOf(target)) ?? 0));
      for (const entry of await entriesOf(target)) {
        if (entry.author !== author || entry.issuedBeforeMs !== null) continue;
        if ((eventTimeOf(entry.reason) ?? entry.createdAtMs) > happenedAtMs) continue;
        if ((await revocations.lift(entry.id, author)) !== null) outcome = 'lifted';
      }
    }
    return outcome;
  }

  return async (one: Planned, jti: string): Promise<SignalOutcome> => {
    const { event, name, demand, mapped } = one;
    if (demand === 'ignore') return 'ignored';
    if (demand === 'verify') {
      // SSF §8.1.4.1: what was asked for by whoever triggered it, so that they find it in the log.
      onVerification();
      note({ state: statedText(event.payload.state) }, 'the event stream was verified');
      return 'noted';
    }
    if (demand === 'note_stream') {
      note({ status: statedText(event.payload.status) }, 'the transmitter has changed the event stream');
      return 'noted';
    }
    const targets = typeof mapped === 'string' ? [] : mapped;
    if (targets.length === 0) {
      note({ event: name, jti: statedText(jti) }, 'an event names nobody who could be revoked; see users and agents');
      return 'unmapped';
    }
    return demand === 'enable' ? enable(targets, event) : revoke(targets, one, jti);
  };
}

/** Whoever is gone can't answer for agents any more. */
function withOwners(targets: readonly Target[]): readonly Target[] {
  const owners = targets
    .filter(({ kind }) => kind === 'subject')
    .map(({ value }) => ({ kind: 'owner' as const, value, issuer: null }));
  const all = new Map([...targets, ...owners].map((target) => [keyOf(target), target]));
  return [...all.values()];
}

function timesOf(
  { kind }: Target,
  demand: Demand,
  happenedAtMs: number,
  keepForMs: number,
): { readonly issued_before?: string; readonly expires_at?: string } {
  if (demand === 'disable') return {};
  const expires_at = new Date(happenedAtMs + keepForMs).toISOString();
  if (kind === 'jti') return { expires_at };
  // Times in tokens are whole seconds, so one that was issued in the very second counts as older.
  return { issued_before: new Date(Math.floor(happenedAtMs / 1000) * 1000 + 1000).toISOString(), expires_at };
}

function keyOf({ kind, value, issuer }: Target): string {
  return JSON.stringify([kind, value, issuer]);
}

function problemOf({ fault, problem }: { fault: 'form' | 'signature' | 'keys'; problem: string }): SetProblem {
  if (fault === 'keys') throw new Fault('signals_keys', 'The keys of the transmitter cannot be had right now.');
  return { err: fault === 'form' ? 'invalid_request' : 'invalid_key', description: `The token ${problem}.` };
}
