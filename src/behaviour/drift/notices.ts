/**
 * What replicas tell each other, as text: a list of lists. Whoever may write to the store can tell anything, so what is
 * not exactly of this form is left out.
 */

import type { Notice, Shown } from './hear.ts';
import { seenMax } from './sessions.ts';
import { destinationsMax } from './waiting-destinations.ts';

/** One thing that is told about an agent. */
export type News =
  | { readonly kind: 'judged'; readonly agent: string; readonly notice: Notice }
  | { readonly kind: 'shown'; readonly agent: string; readonly shown: Shown }
  /** The stored baseline of the agent is one that all must follow at once. */
  | { readonly kind: 'changed'; readonly agent: string };

/** No text is longer: an agent's name, or one list of hashes, is at most half of what the others may take. */
export const newsCharsMax = 131_072;
/** An agent of a longer name is not told of. */
export const agentCharsMax = 1024;
const sessionCharsMax = 32;
/** How far what is told may lie from now: clocks differ, and messages take their time. */
const windowMs = 60_000;
const hashMax = 0xffffffff;
const surpriseSteps = 1024;
const surpriseMax = 64 * surpriseSteps;

const judged = 0;
const shown = 1;
const changed = 2;

/** Kind, agent, session, action, time; then evidence, two surprises and destinations, or the hashes that were shown. */
export function encodeNews(news: News): string {
  if (news.kind === 'changed') return JSON.stringify([changed, news.agent]);
  if (news.kind === 'shown') {
    const { session, action, atMs, hashes } = news.shown;
    return JSON.stringify([shown, news.agent, session, action, atMs, ...hashes.slice(0, seenMax)]);
  }
  const { session, action, atMs, evidence, actionSurprise, sequenceSurprise, destinations } = news.notice;
  const surprises = [stepsOf(actionSurprise), stepsOf(sequenceSurprise)];
  return JSON.stringify([judged, news.agent, session, action, atMs, evidence, ...surprises, ...destinations]);
}

function stepsOf(surprise: number): number {
  return Math.max(0, Math.min(surpriseMax, Math.round(surprise * surpriseSteps)));
}

/** What of a text can be believed. */
export function decodeNews(text: string, nowMs: number): readonly News[] {
  if (text.length > newsCharsMax) return [];
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.flatMap((item) => decodeOne(item, nowMs) ?? []) : [];
  } catch {
    return [];
  }
}

function decodeOne(item: unknown, nowMs: number): News | null {
  if (!Array.isArray(item)) return null;
  const [kind, agent, session, action, atMs, ...rest]: unknown[] = item;
  if (typeof agent !== 'string' || agent.length === 0 || agent.length > agentCharsMax) return null;
  if (kind === changed) return item.length === 2 ? { kind: 'changed', agent } : null;
  if (session !== null && (typeof session !== 'string' || session.length > sessionCharsMax)) return null;
  if (!isWhole(action, 1, hashMax) || !isWhole(atMs, nowMs - windowMs, nowMs + windowMs)) return null;
  if (kind === shown) {
    const hashes = hashesOf(rest, seenMax);
    return hashes === null ? null : { kind: 'shown', agent, shown: { session, action, atMs, hashes } };
  }
  const [evidence, actionSteps, sequenceSteps, ...named] = rest;
  const destinations = hashesOf(named, destinationsMax);
  if (kind !== judged || destinations === null || !isWhole(evidence, -0x8000, 0x7fff)) return null;
  if (!isWhole(actionSteps, 0, surpriseMax) || !isWhole(sequenceSteps, 0, surpriseMax)) return null;
  const actionSurprise = actionSteps / surpriseSteps;
  const sequenceSurprise = sequenceSteps / surpriseSteps;
  const notice = { session, action, atMs, evidence, actionSurprise, sequenceSurprise, destinations };
  return { kind: 'judged', agent, notice };
}

function hashesOf(values: readonly unknown[], countMax: number): readonly number[] | null {
  if (values.length > countMax) return null;
  return values.every((value) => isWhole(value, 0, hashMax)) ? (values as number[]) : null;
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
}
