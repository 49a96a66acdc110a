/** What is said of a request, and by which settings. */

import type { Words } from './words.ts';

/** A value of the request that names a recipient, host, URL, account or id, or may do so: its keyed hash, and where it stood. */
export type Destination = {
  readonly field: string;
  /** Of the field; another where it stood inside of a longer text. */
  readonly fieldHash: number;
  /** 0 for a text, of which only that there is one counts. */
  readonly hash: number;
  readonly kind: DestinationKind;
  /** What to look for in responses, where it has no shape to be found by. */
  readonly words?: () => Words;
};

/**
 * Someone or somewhere to reach; a thing (a record, a file); a short value of which neither name nor shape tells whether
 * it names anybody (a hotel, a category, a date); a text that could hold any of them, and does not.
 */
export type DestinationKind = 'reach' | 'id' | 'plain' | 'text';

export type Settings = {
  /** Requests, and time since the first, before scores are said to mean something. */
  readonly readySamples: number;
  readonly readyAfterMs: number;
  /** From here on an allowed request is learned at a discount. */
  readonly discountScore: number;
  /** A request is an alarm from here on, or where a response has led it to a destination all but never reached. */
  readonly alarmScore: number;
  /** Alarms among the newest 200 requests that latch an agent. */
  readonly alarmsMax: number;
};

/** The scores of a request, as rules see them. Each is the share of the agent's own past that was less extreme. */
export type Scores = {
  readonly score: number;
  readonly novelty: number;
  readonly sequence: number;
  readonly destination: number;
  readonly tainted: boolean;
  readonly rate: number;
  readonly sustained: number;
  /** Agents `sustained` was compared with: of its group, or all. Below 10 it tells of the agent's own past instead. */
  readonly peers: number;
  readonly ready: boolean;
  readonly samples: number;
  readonly alarms: number;
};

/** Scores, and what it takes to learn from the request or to explain it. */
export type Judgement = Scores & {
  readonly atMs: number;
  readonly action: number;
  readonly previous: number;
  readonly destinations: readonly Destination[];
  /** Which destinations are new here, a bit each; the one that says most, -1 for none; whether it was never met at all. */
  readonly freshBits: number;
  readonly freshIndex: number;
  readonly isStrange: boolean;
  /** The action whose response first showed the new destination; 0 where none did. */
  readonly shownBy: number;
  /** What the request was the first to do, of those that name someone or something for certain. */
  readonly marks: number;
  /** Evidence in nats (-log p), one a feature. */
  readonly actionEvidence: number;
  readonly sequenceEvidence: number;
  readonly destinationEvidence: number;
  readonly rateEvidence: number;
  /** The values to calibrate with, in the order of the histograms. */
  readonly actionValue: number;
  readonly sequenceValue: number;
  readonly combinedValue: number;
  readonly rateValue: number;
  readonly sustainedValue: number;
  readonly hour: number;
  readonly rateStep: number;
  /** log of the chance among peers over the chance here, of what has been learned. */
  readonly evidence: number;
  readonly isAlarm: boolean;
  /** Mean evidence of the last ten requests or so. */
  readonly lean: number;
};

/** Scores are told down to a millionth, so that records and explanations say exactly what rules saw. */
export const toMillionths = (score: number) => Math.floor(score * 1e6) / 1e6;
