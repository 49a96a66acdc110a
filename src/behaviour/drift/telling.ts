/**
 * Replicas tell each other at once what they judged, so that an agent whose calls go to any of them is judged as by one.
 * No request waits for it: what cannot be told is dropped, and is learned with the next merge of baselines.
 */

import type { Channel, DriftStore } from '../../store/drift-port.ts';
import type { Engine } from './engine.ts';
import { type Notice, noticeOf } from './hear.ts';
import type { Judgement } from './judgement.ts';
import type { Keeper } from './keeper.ts';
import { type KeptAgent, wake } from './kept-agent.ts';
import { agentCharsMax, decodeNews, encodeNews, type News, newsCharsMax } from './notices.ts';

export type Telling = {
  /** A request was judged, be it learned from or not. */
  readonly judged: (agent: string, session: string, judgement: Judgement) => void;
  /** A response has shown destinations. */
  readonly shown: (agent: string, session: string, action: string, hashes: readonly number[], atMs: number) => void;
  /** The stored baseline is one that all replicas must follow at once. */
  readonly changed: (agent: string) => void;
  readonly close: () => void;
};

export type TellingOptions = {
  readonly store: Pick<DriftStore, 'join'>;
  /** The same for replicas that can understand each other: of one secret and one format. */
  readonly channel: string;
  readonly clock: () => number;
  readonly engine: Pick<Engine, 'drift'>;
  readonly keeper: Pick<Keeper, 'peek' | 'follow'>;
  /** Why other replicas are not heard; null where they are again. */
  readonly onUnheard: (fault: Error | null) => void;
  readonly onFault: (fault: unknown) => void;
};

/** Between two messages, however many requests there are. */
const gapMs = 4;
/** How long nothing is told where nobody was there to hear it. */
const aloneMs = 1000;
const waitingCharsMax = 8 * newsCharsMax;

export function createTelling(options: TellingOptions): Telling {
  const { store, clock, engine, keeper, onFault } = options;
  let waiting: string[] = [];
  let waitingChars = 0;
  let isUnderWay = false;
  /** Monotonic. */
  let nextMs = 0;
  let aloneUntilMs = 0;
  const channel: Channel = store.join(options.channel, { onTold, onFault: options.onUnheard });

  function tell(news: News): void {
    if (news.agent.length > agentCharsMax) return;
    const text = encodeNews(news);
    if (waitingChars + text.length >= waitingCharsMax) return;
    waiting.push(text);
    waitingChars += text.length + 1;
    if (!isUnderWay) schedule();
  }

  function schedule(): void {
    isUnderWay = true;
    const delayMs = nextMs - performance.now();
    // What else happens in this turn of the event loop goes along.
    if (delayMs <= 0) setImmediate(send);
    else setTimeout(send, delayMs).unref();
  }

  function send(): void {
    nextMs = performance.now() + gapMs;
    channel
      .tell(`[${take().join()}]`)
      .catch(() => 0)
      .then((others) => {
        aloneUntilMs = others === 0 ? performance.now() + aloneMs : 0;
        isUnderWay = false;
        if (waiting.length > 0) schedule();
      });
  }

  /** As much as one message may hold; mostly all. */
  function take(): readonly string[] {
    let chars = 2;
    let count = 0;
    for (const text of waiting) {
      chars += text.length + 1;
      if (chars > newsCharsMax) break;
      count++;
    }
    const taken = waiting.slice(0, count);
    waiting = waiting.slice(count);
    waitingChars -= taken.reduce((sum, text) => sum + text.length + 1, 0);
    return taken;
  }

  const isAlone = () => aloneUntilMs !== 0 && performance.now() < aloneUntilMs;

  function onTold(text: string): void {
    aloneUntilMs = 0;
    try {
      for (const news of decodeNews(text, clock())) {
        // Agents that do not call here are of no interest, and nobody but they may bring themselves into memory.
        const kept = keeper.peek(news.agent);
        if (kept !== undefined) hear(kept, news);
      }
    } catch (fault) {
      onFault(fault);
    }
  }

  function hear(kept: KeptAgent, news: News): void {
    const { agent } = kept;
    if (news.kind === 'changed') keeper.follow(kept);
    else if (news.kind === 'shown') engine.drift.hearShown(agent, news.shown);
    else hearJudged(kept, news.notice);
  }

  function hearJudged(kept: KeptAgent, notice: Notice): void {
    const { agent } = kept;
    const waitingBefore = agent.batch.length;
    // It may be what fills the batch, and then the part that was judged here is learned.
    if (waitingBefore > 0) wake(kept);
    engine.drift.hear(agent, [notice]);
    if (agent.batch.length < waitingBefore) kept.isDirty = true;
  }

  return {
    judged(agent, session, judgement) {
      if (!isAlone()) tell({ kind: 'judged', agent, notice: noticeOf(session, judgement) });
    },
    shown(agent, session, action, hashes, atMs) {
      if (isAlone()) return;
      tell({ kind: 'shown', agent, shown: { session, action: engine.drift.hashOf(action), atMs, hashes } });
    },
    changed: (agent) => tell({ kind: 'changed', agent }),
    close: () => channel.close(),
  };
}
