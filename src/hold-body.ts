/** Which bodies are read whole before the decision, and what is found out about them. All others stream. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { readMcpCall } from './behaviour/actions/json-rpc.ts';
import type { Config } from './config/schema.ts';
import { type Deny, deny, isDeny } from './decision.ts';
import { sendContinue } from './delivery.ts';
import type { ClientRequest, ContentDigest, Fields, HeldBody, Identity, Outcome, Route } from './exchange.ts';
import { matchesDigests } from './identify/content-digest.ts';
import { createReadWholeBody } from './receive/held-body.ts';
import { isJsonBody, parseJsonBody } from './receive/json-body.ts';

/** What a body is read for. */
export type BodyPlan = {
  /** Null where there is none to read. */
  readonly bytesMax: number | null;
  readonly digests: readonly ContentDigest[] | null;
  readonly isJson: boolean;
  /** Of the request: what they repeat of the body must agree with it. */
  readonly fields: Fields;
};

/** Null for a body that nobody needs to know; a Deny for one that can't be what it says. Reads nothing yet. */
export type PlanBody = (request: ClientRequest, route: Route, identity: Identity) => BodyPlan | null | Deny;

export type HoldBody = (
  plan: BodyPlan,
  outcome: Outcome,
  incoming: IncomingMessage,
  response: ServerResponse,
) => Promise<HeldBody | Deny>;

export function createPlanBody({ boundBody }: Pick<Config['limits'], 'boundBody'>): PlanBody {
  return ({ bodyBytes, fields }, { jsonBytesMax, bodyBytesMax }, { contentDigest: digests }) => {
    const isJson = jsonBytesMax !== null && bodyBytes !== 0 && isJsonBody(fields);
    if (typeof isJson !== 'boolean') return isJson;
    if (digests === null && !isJson) return null;
    if (bodyBytes === 0) return { bytesMax: null, digests, isJson, fields };
    const bounds = [bodyBytesMax, ...(digests === null ? [] : [boundBody]), ...(isJson ? [jsonBytesMax] : [])];
    const bytesMax = Math.min(...bounds);
    if (bodyBytes !== null && bodyBytes > bytesMax) return deny('body_too_large');
    // What is announced is what is read; room for more is taken only where nothing was announced.
    return { bytesMax: bodyBytes ?? bytesMax, digests, isJson, fields };
  };
}

/**
 * `heldBodies` bounds what all bodies held at once may take, each with as much as it may grow to. `room` counts it;
 * whoever changes the bound hands on the same one.
 */
export function createHoldBody(
  limits: Pick<Config['limits'], 'heldBodies' | 'heldBodyTimeout' | 'requestTimeout'>,
  room = { bytesTaken: 0 },
): HoldBody {
  // Past requestTimeout the listener would cut the connection, and no answer would tell why.
  const timeoutMs = Math.min(limits.heldBodyTimeout, limits.requestTimeout);
  const readWhole = createReadWholeBody({ timeoutMs });
  return async (plan, outcome, incoming, response) => {
    const { bytesMax } = plan;
    if (bytesMax === null) return examine(empty, plan, () => {});
    if (room.bytesTaken + bytesMax > limits.heldBodies) return tooMany;
    room.bytesTaken += bytesMax;
    const release = once(() => {
      room.bytesTaken -= bytesMax;
    });
    const beforeBody = incoming.headers.expect === undefined ? undefined : () => sendContinue(response);
    const bytes = await readWhole({ incoming, bytesMax, outcome, beforeBody });
    const held = Buffer.isBuffer(bytes) ? examine(bytes, plan, release) : bytes;
    if (isDeny(held)) release();
    return held;
  };
}

function examine(bytes: Buffer, { digests, isJson, fields }: BodyPlan, release: () => void): HeldBody | Deny {
  if (digests !== null && !matchesDigests(bytes, digests)) return otherBody;
  const parsed = isJson ? parseJsonBody(bytes) : notInspected;
  if (isDeny(parsed)) return parsed;
  const { json } = parsed;
  const mcp = readMcpCall(json, fields);
  if (mcp !== null && typeof mcp === 'object' && isDeny(mcp)) return mcp;
  return { bytes, isBound: digests !== null, json, mcp, release };
}

const empty = Buffer.alloc(0);
const notInspected = { json: undefined };

const tooMany = deny('rate_limited', {
  detail: 'Too many bodies are being verified at once. Retry in a moment.',
  cause: 'limits.heldBodies is used up',
  retryAfterSeconds: 1,
});

const otherBody = deny('proof_invalid', {
  detail: 'Make a new DPoP proof whose content_digest is that of the very bytes of the body.',
  cause: 'proof content_digest differs from the body',
  challenge: { scheme: 'DPoP' },
});

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}
