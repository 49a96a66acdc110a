/**
 * Agents that call through every sidecar: most of them well, some with proofs that were used before or are sent to
 * several sidecars at once, some after they were revoked, some too often. They go on whatever is broken.
 */

import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { createKey, type SigningKey } from '../support/keys.ts';
import type { Random } from '../support/random.ts';
import { mintAccessToken, mintProof } from '../support/tokens.ts';
import { type Fleet, issuer, limit, publicOrigin, type Replica } from './fleet.ts';
import type { HandleKind, Handles, Ledger } from './ledger.ts';

export type LoadCounts = {
  calls: number;
  passed: number;
  /** Connections that broke, or could not be made. */
  broken: number;
  replaysTried: number;
  revokedTried: number;
  /** Confirmed ones. */
  revocations: number;
  /** That the store could not take. */
  revocationsFailed: number;
  readonly refused: Record<string, number>;
};

export type Load = {
  readonly counts: LoadCounts;
  /** Calls until `isOver`, so many at a time. Rejects with the first error that is not the network's. */
  readonly run: (concurrency: number, isOver: () => boolean) => Promise<void>;
  /** Revokes one agent, token, key or subject in use, at one sidecar. */
  readonly revokeOne: () => Promise<void>;
  /** Sends proofs that were used, and calls with revoked tokens, once more to every sidecar. */
  readonly tryEverythingAgain: () => Promise<void>;
  /** Calls with an agent of its own; the reason of the refusal, or null where it passes. */
  readonly probe: (replica: Replica) => Promise<string | null>;
  readonly close: () => Promise<void>;
};

type Caller = { readonly key: SigningKey; readonly token: string; readonly handles: Handles };
/** A proof made for one path, of which `path` is without the query. */
type Made = { readonly caller: Caller; readonly path: string; readonly proof: string; readonly proofId: string };

const callersCount = 8;
/** Below the time in which a proof is accepted, so that only its use can be the reason to refuse it. */
const proofLifeMs = 45_000;
const keptMax = 400;
/** How many of each kind are tried again at the end, the latest. */
const againMax = 100;
const excess = 5;
/** What a client waits that was told to come later, or found nobody: it is not to spin while something is down. */
const backOffMs = 25;

export function createLoad(fleet: Fleet, ledger: Ledger, random: Random): Load {
  const client = new Agent({ pipelining: 1, connections: 64, connectTimeout: 2000, headersTimeout: 15_000 });
  const counts: LoadCounts = {
    ...{ calls: 0, passed: 0, broken: 0, replaysTried: 0, revokedTried: 0, revocations: 0, revocationsFailed: 0 },
    refused: {},
  };
  let callersMade = 0;
  const callers = Array.from({ length: callersCount }, createCaller);
  /** Those that are off, latest last. */
  const revoked: Caller[] = [];
  const used: (Made & { readonly atMs: number })[] = [];

  function createCaller(): Caller {
    callersMade += 1;
    const key = createKey('ES256');
    const [agent, subject, jti] = [`agent-${callersMade}`, `user-${callersMade}`, randomUUID()];
    const token = mintAccessToken({
      issuer,
      issuerKey: fleet.issuerKey,
      audience: publicOrigin,
      agentKey: key,
      lifetimeSeconds: 7200,
      claims: { client_id: agent, sub: subject, jti },
    });
    return { key, token, handles: { agent, subject, jti, jkt: key.jkt } };
  }

  function make(caller: Caller, path: string): Made {
    const proofId = randomUUID();
    const proof = mintProof({
      key: caller.key,
      method: 'GET',
      url: `${publicOrigin}${path}`,
      accessToken: caller.token,
      claims: { jti: proofId },
    });
    return { caller, path, proof, proofId };
  }

  /** The reason of the refusal, null where it passes, `broken` where there is no answer. */
  async function send({ caller, path, proof, proofId }: Made, { origin }: Replica): Promise<string | null> {
    const { handles, token } = caller;
    counts.calls += 1;
    const id = ledger.send({ handles, proofId, isLimited: path === '/api/limited' });
    try {
      const headers = { authorization: `DPoP ${token}`, dpop: proof };
      const answer = await request(`${origin}${path}?call=${id}`, { dispatcher: client, headers });
      const text = await answer.body.text();
      if (answer.statusCode === 200) {
        counts.passed += 1;
        return null;
      }
      const { reason } = JSON.parse(text) as { reason: string };
      counts.refused[reason] = (counts.refused[reason] ?? 0) + 1;
      if (reason === 'store_unavailable') await setTimeout(backOffMs);
      return reason;
    } catch (fault) {
      if (!isOfNetwork(fault)) throw fault;
      counts.broken += 1;
      await setTimeout(backOffMs);
      return 'broken';
    }
  }

  /** To all sidecars at once, a used one too. */
  async function spread(made: Made): Promise<void> {
    await Promise.all(fleet.replicas.map((replica) => send(made, replica)));
  }

  /** More than the limit lets pass, through all sidecars. */
  async function burst(caller: Caller): Promise<void> {
    const calls = Array.from({ length: limit + excess }, () => make(caller, '/api/limited'));
    await Promise.all(calls.map((made) => send(made, random.pick(fleet.replicas))));
  }

  function keep(made: Made): void {
    used.push({ ...made, atMs: performance.now() });
    if (used.length > keptMax) used.shift();
  }

  function usedStill() {
    const fromMs = performance.now() - proofLifeMs;
    while (used[0] !== undefined && used[0].atMs < fromMs) used.shift();
    return used;
  }

  async function once(): Promise<void> {
    const kind = random.below(100);
    const replica = random.pick(fleet.replicas);
    const old = usedStill();
    if (kind < 15 && old.length > 0) {
      counts.replaysTried += 1;
      return void (await send(random.pick(old), replica));
    }
    if (kind < 30 && revoked.length > 0) {
      counts.revokedTried += 1;
      return void (await send(make(random.pick(revoked), '/api/call'), replica));
    }
    if (kind === 30) return burst(random.pick(callers));
    if (kind === 31) return revokeOne();
    const made = make(random.pick(callers), kind < 55 ? '/api/limited' : '/api/call');
    if (kind > 85) {
      counts.replaysTried += fleet.replicas.length - 1;
      await spread(made);
      return keep(made);
    }
    await send(made, replica);
    keep(made);
  }

  async function revokeOne(): Promise<void> {
    const index = random.below(callers.length);
    const caller = callers[index];
    if (caller === undefined) return;
    const kind = random.pick<HandleKind>(['agent', 'jti', 'jkt', 'subject']);
    const value = caller.handles[kind];
    const body = { [kind]: value, ...(kind === 'jti' ? { issuer } : {}), reason: 'test' };
    try {
      const answer = await request(`${random.pick(fleet.replicas).adminOrigin}/v1/revocations`, {
        dispatcher: client,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      // From when its status is here, before anything else can happen.
      if (answer.statusCode === 201) ledger.revoke(kind, value);
      await answer.body.dump();
      if (answer.statusCode === 201) counts.revocations += 1;
      else counts.revocationsFailed += 1;
    } catch (fault) {
      if (!isOfNetwork(fault)) throw fault;
      counts.revocationsFailed += 1;
    }
    // Where the store was away it may be off at some sidecars, or all, or none: of no more use here.
    if (callers[index] === caller) callers[index] = createCaller();
    if (!ledger.isRevoked(caller.handles)) return;
    revoked.push(caller);
    if (revoked.length > keptMax) revoked.shift();
  }

  return {
    counts,
    async run(concurrency, isOver) {
      const worker = async () => {
        while (!isOver()) await once();
      };
      await Promise.all(Array.from({ length: concurrency }, worker));
    },
    revokeOne,
    async tryEverythingAgain() {
      const arrived = usedStill().filter(({ proofId }) => ledger.hasArrived(proofId));
      for (const made of arrived.slice(-againMax)) {
        counts.replaysTried += fleet.replicas.length;
        await spread(made);
      }
      for (const caller of revoked.slice(-againMax)) {
        counts.revokedTried += fleet.replicas.length;
        await Promise.all(fleet.replicas.map((replica) => send(make(caller, '/api/call'), replica)));
      }
    },
    probe: (replica) => send(make(createCaller(), '/api/call'), replica),
    close: () => client.destroy(),
  };
}

const networkCodes: ReadonlySet<string> = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'UND_ERR_SOCKET', 'UND_ERR_CONNECT_TIMEOUT'],
  ...['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_CLOSED', 'HPE_INVALID_EOF_STATE'],
]);

function isOfNetwork(fault: unknown): boolean {
  return fault instanceof Error && 'code' in fault && networkCodes.has(String(fault.code));
}
