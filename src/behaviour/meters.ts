/** What a request counts towards: one hit a meter, by the identity that the meter's expression names. */

import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type Deny, deny } from '../decision.ts';

type Expression<Context> = {
  /** Throws where the expression can't be evaluated; the error's message holds nothing of the request. */
  evaluate(context: Context): unknown;
};

export type Meter<Context> = {
  readonly name: string;
  readonly windowMs: number;
  /** Gives a string: whose calls are counted together. */
  readonly by: Expression<Context>;
  /** Gives an int: how much this request counts. */
  readonly cost: Expression<Context>;
};

export type NamedHit = {
  readonly name: string;
  readonly key: string;
  readonly windowMs: number;
  readonly cost: number;
};

const costMax = 1_000_000_000n;
/** 132 bits of SHA-256: keys are short, and no two identities share one. */
const digestChars = 22;

/** Identities whose digest is kept at hand. */
const digestsMax = 1000;
const identityCharsMax = 256;

/** What is known only once the body has been read. An operation may be the tool that it calls, and a reason be in it. */
const inBodies = [
  ...['request.body', 'request.operation', 'request.reason'],
  ...['mcp.method', 'mcp.tool', 'pop.body_bound'],
];

type Reader = { readonly reads: ReadonlySet<string> };

/** Whether a meter counts by what the body says. */
export function readsBody({ by, cost }: { readonly by: Reader; readonly cost: Reader }): boolean {
  return inBodies.some((name) => by.reads.has(name) || cost.reads.has(name));
}

/** One hit a meter in the order given. A meter that can't be read denies: it might be the one that throttles. */
export function createMeasure<Context>(
  meters: readonly Meter<Context>[],
): (context: Context) => readonly NamedHit[] | Deny {
  const digests = new LRUCache<string, string>({ max: digestsMax });
  const digestOf = (identity: string) => {
    let digest = digests.get(identity);
    if (digest === undefined) {
      digest = hash('sha256', identity, 'base64url').slice(0, digestChars);
      if (identity.length <= identityCharsMax) digests.set(identity, digest);
    }
    return digest;
  };
  return (context) => {
    const hits: NamedHit[] = [];
    for (const { name, windowMs, by, cost } of meters) {
      const identity = read(by, context);
      if (typeof identity !== 'string') return deny('policy_error', { cause: `meter ${name}: by failed` });
      const amount = read(cost, context);
      if (typeof amount !== 'bigint') return deny('policy_error', { cause: `meter ${name}: cost failed` });
      if (amount < 0n || amount > costMax) {
        return deny('policy_error', { cause: `meter ${name}: cost is not between 0 and ${costMax}` });
      }
      // The identity is the request's: hashed, it is safe as part of a key, whatever it holds.
      hits.push({ name, key: `${name}:${digestOf(identity)}`, windowMs, cost: Number(amount) });
    }
    return hits;
  };
}

function read<Context>(expression: Expression<Context>, context: Context): unknown {
  try {
    return expression.evaluate(context);
  } catch {
    return null;
  }
}
