/** What the request path knows of behaviour: the scores of a call, and who looks along at its response. */

/** How far a call is from what its agent has always done, as rules and records have it. */
export type DriftScores = {
  /** From 0 to 1, each the share of the agent's own past that was less extreme. */
  readonly score: number;
  readonly novelty: number;
  readonly sequence: number;
  readonly destination: number;
  readonly rate: number;
  readonly sustained: number;
  /** Whether a new destination first appeared in a response. */
  readonly tainted: boolean;
  /** Whether there is history enough for the scores to mean something. */
  readonly ready: boolean;
  readonly samples: number;
  /** Alarms among the newest requests. */
  readonly alarms: number;
  /** Agents that `sustained` was compared with. */
  readonly peers: number;
  /** Whether nothing is learned until a person has spoken. */
  readonly latched: boolean;
  /** Whether what other replicas have learned, or this one before a restart, could not be had. */
  readonly stale: boolean;
  /** Why, in words, the weightiest first. Made when it is asked for. */
  readonly top: () => readonly string[];
};

/** Looks at a response while it passes. Nothing waits for it, and nothing that it finds holds the response up. */
export type ReadAlong = {
  /** Whether there is anything to be read in content of this type. */
  readonly begin: (contentType: string | undefined) => boolean;
  /** The next octets, without their content coding. Never throws. */
  readonly read: (bytes: Buffer) => void;
  readonly end: () => void;
};
