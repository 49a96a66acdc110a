/**
 * Whether access tokens are good according to their issuer's Token Status Lists (draft-ietf-oauth-status-list). Asked
 * on every request, whether or not the token is remembered; the answer is a bit of a list that is held. A list that
 * cannot be had refuses the request: nobody can say then whether the token is revoked.
 */

import { LRUCache } from 'lru-cache';
import type { Agent } from 'undici';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { AccessToken } from '../exchange.ts';
import { isJsonObject } from '../strict-json.ts';
import { createIssuerDispatcher } from './issuer-dispatcher.ts';
import type { KeySets } from './key-sets.ts';
import { readStatusList, type StatusList, statusAt } from './status-list.ts';
import { fetchStatusListToken } from './status-list-request.ts';
import { invalidToken } from './token-validity.ts';
import { createVerifyIssuerJwt, type VerifyIssuerJwt } from './verify-issuer-jwt.ts';

export type StatusListEvent = {
  readonly issuer: string;
  readonly outcome: 'fetched' | 'failed';
  /** Null when it went well. */
  readonly problem: string | null;
  /** Only where the fault is unforeseen and so likely our own. */
  readonly error?: unknown;
};

export type StatusLists = {
  /** Null where the status of the token is fine, or nobody is to be asked. Waits only where its list is not held. */
  readonly check: (accessToken: AccessToken) => Deny | null | Promise<Deny | null>;
  /** Cuts the connections, and with them every fetch under way. */
  readonly close: () => Promise<void>;
};

export type StatusListsOptions = {
  /** As in the configuration. Durations in milliseconds, sizes in bytes. */
  readonly issuers: readonly {
    readonly issuer: string;
    readonly algorithms: readonly string[];
    readonly clockSkew: number;
    readonly statusList: {
      readonly check: 'auto' | 'required' | 'off';
      readonly origins: readonly string[];
      readonly maxAge: number;
      readonly maxInflated: number;
      readonly timeout: number;
    };
  }[];
  readonly keySets: KeySets;
  readonly clock: () => number;
  /** After each fetch. Must not throw. */
  readonly onChange?: ((event: StatusListEvent) => void) | undefined;
};

type Issuer = StatusListsOptions['issuers'][number] & {
  readonly origins: ReadonlySet<string>;
  readonly verify: VerifyIssuerJwt;
};
type Reference = { readonly index: number; readonly uri: string; readonly key: string };
type Held = {
  readonly list: StatusList;
  /** From then on it is fetched again, while requests go on with what is held. */
  readonly refreshAtMs: number;
};
type Failure = { readonly count: number; readonly notBeforeMs: number };

const heldMax = 1000;
const heldBytesMax = 64 * 1024 * 1024;
const fetchesMax = 64;
const connectionsMax = 4;
const uriCharsMax = 2048;
const failureBackoffMs = { first: 1000, most: 30_000 };
// Late enough to keep the load low, early enough for one more try before requests would have to wait.
const refreshAfterShare = 0.75;

/** Prepares the lists of all issuers. Fetches nothing yet. */
export function createStatusLists({ issuers, keySets, clock, onChange }: StatusListsOptions): StatusLists {
  const dispatcher = createIssuerDispatcher(
    connectionsMax,
    Math.max(...issuers.map(({ statusList }) => statusList.timeout)),
  );
  const byName = new Map(issuers.flatMap((issuer) => prepare(issuer, keySets)));
  const held = new LRUCache<string, Held>({
    max: heldMax,
    maxSize: heldBytesMax,
    sizeCalculation: ({ list }) => list.bytes.length + 1,
  });
  const failures = new LRUCache<string, Failure>({ max: heldMax });
  const underWay = new Map<string, Promise<Held | null>>();
  // Tokens are shared between requests, so that what they say is read once.
  const references = new WeakMap<AccessToken, Reference | Deny>();

  /** Single flight for each list. Null where it could not be had; never rejects. */
  function refresh(key: string, uri: string, issuer: Issuer): Promise<Held | null> {
    const shared = underWay.get(key);
    if (shared !== undefined) return shared;
    const fetching = fetchOnce(key, uri, issuer).finally(() => underWay.delete(key));
    underWay.set(key, fetching);
    return fetching;
  }

  async function fetchOnce(key: string, uri: string, issuer: Issuer): Promise<Held | null> {
    try {
      const list = await getList(uri, issuer, clock, dispatcher);
      const nowMs = clock();
      const fresh = { list, refreshAtMs: nowMs + (list.expiresAtMs - nowMs) * refreshAfterShare };
      held.set(key, fresh);
      failures.delete(key);
      onChange?.({ issuer: issuer.issuer, outcome: 'fetched', problem: null });
      return fresh;
    } catch (error) {
      const count = (failures.get(key)?.count ?? 0) + 1;
      const waitMs = Math.min(failureBackoffMs.most, failureBackoffMs.first * 2 ** (count - 1));
      failures.set(key, { count, notBeforeMs: clock() + waitMs });
      const isForeseen = error instanceof Fault;
      const problem = isForeseen ? error.message : `The status list ${uri} could not be read.`;
      onChange?.({ issuer: issuer.issuer, outcome: 'failed', problem, ...(isForeseen ? {} : { error }) });
      return null;
    }
  }

  const waitMs = (key: string) => Math.max(0, (failures.get(key)?.notBeforeMs ?? 0) - clock());

  function unavailable(key: string): Deny {
    return deny('issuer_unavailable', {
      detail: 'The status of the access token cannot be had from its issuer right now. Try again.',
      cause: 'the status list of the token could not be fetched',
      retryAfterSeconds: Math.max(1, Math.ceil(waitMs(key) / 1000)),
    });
  }

  function referenceOf(accessToken: AccessToken, issuer: Issuer): Reference | Deny | null {
    const known = references.get(accessToken);
    if (known !== undefined) return known;
    const read = readReference(accessToken, issuer);
    if (read !== null) references.set(accessToken, read);
    return read;
  }

  async function fetchAndAsk({ uri, index, key }: Reference, issuer: Issuer): Promise<Deny | null> {
    const fresh = await refresh(key, uri, issuer);
    return fresh === null ? unavailable(key) : judge(fresh.list, index);
  }

  return {
    check(accessToken) {
      const issuer = byName.get(accessToken.issuer);
      if (issuer === undefined) return null;
      const reference = referenceOf(accessToken, issuer);
      if (reference === null || 'effect' in reference) return reference;
      const { key } = reference;
      const known = held.get(key);
      const nowMs = clock();
      const mayFetch = underWay.has(key) || (underWay.size < fetchesMax && waitMs(key) === 0);
      if (known === undefined || nowMs >= known.list.expiresAtMs) {
        return mayFetch ? fetchAndAsk(reference, issuer) : unavailable(key);
      }
      if (nowMs >= known.refreshAtMs && mayFetch) void refresh(key, reference.uri, issuer);
      return judge(known.list, reference.index);
    },
    close: () => dispatcher.destroy(),
  };
}

function prepare(issuer: StatusListsOptions['issuers'][number], keySets: KeySets): readonly [string, Issuer][] {
  const keySet = keySets.byIssuer.get(issuer.issuer);
  if (issuer.statusList.check === 'off' || keySet === undefined) return [];
  const own = URL.canParse(issuer.issuer) ? [new URL(issuer.issuer).origin] : [];
  const origins = new Set([...own, ...issuer.statusList.origins.map((origin) => new URL(origin).origin)]);
  // Status List §5.1: the explicit type keeps access tokens and lists apart.
  const verify = createVerifyIssuerJwt({ type: 'statuslist+jwt', algorithms: issuer.algorithms, keySet });
  return [[issuer.issuer, { ...issuer, origins, verify }]];
}

/** Where the status of a token is (Status List §6.2); null where nobody is to be asked. */
function readReference(
  { issuer, claims, source }: AccessToken,
  { statusList, origins }: Issuer,
): Reference | Deny | null {
  const { status } = claims;
  const reference = isJsonObject(status) ? status.status_list : undefined;
  if (reference === undefined) {
    // A status that is no object is some claim of the issuer's own: the name was free before the draft.
    // An issuer that is asked about each token says by that what its status is.
    if (statusList.check === 'auto' || source === 'introspection') return null;
    return invalidToken('token has no status.status_list, which its issuer must give');
  }
  const { idx, uri } = isJsonObject(reference) ? reference : {};
  if (typeof idx !== 'number' || !Number.isSafeInteger(idx) || idx < 0) {
    return invalidToken('token status.status_list.idx is not a whole number');
  }
  if (typeof uri !== 'string' || !isAllowed(uri, origins)) {
    return invalidToken('token status.status_list.uri is not at an origin that its issuer may keep lists at');
  }
  // A list speaks for the issuer whose keys signed it, and for no other that names the same address.
  return { index: idx, uri, key: `${issuer} ${uri}` };
}

/** A token says where we call, so only places that the configuration names are called. */
function isAllowed(uri: string, origins: ReadonlySet<string>): boolean {
  if (uri.length > uriCharsMax || !URL.canParse(uri)) return false;
  const { origin, protocol, username, password, hash } = new URL(uri);
  return (protocol === 'https:' || protocol === 'http:') && origins.has(origin) && username + password + hash === '';
}

async function getList(uri: string, issuer: Issuer, clock: () => number, dispatcher: Agent): Promise<StatusList> {
  const { timeout, maxAge, maxInflated } = issuer.statusList;
  // The time of the question, not of the answer: a slow answer is none the fresher.
  const nowMs = clock();
  const raw = await fetchStatusListToken(uri, dispatcher, timeout);
  const verified = await issuer.verify(raw);
  if ('fault' in verified) throw new Fault('status_list', `The status list ${uri} ${verified.problem}.`);
  const list = await readStatusList(verified.payload, {
    uri,
    issuer: issuer.issuer,
    nowMs,
    clockSkewMs: issuer.clockSkew,
    maxAgeMs: maxAge,
    inflatedBytesMax: maxInflated,
  });
  if (typeof list === 'string') throw new Fault('status_list', `The status list ${uri}: ${list}.`);
  return list;
}

/** §7: 0 is valid, 1 invalid, 2 suspended; whatever else an application may mean by the others, it is not valid. */
function judge(list: StatusList, index: number): Deny | null {
  const status = statusAt(list, index);
  if (status === 0) return null;
  // §8.3: an index that the list does not reach is refused.
  if (status === null) return invalidToken('token status.status_list.idx is beyond the end of its list');
  const meaning = status === 1 ? 'invalid' : status === 2 ? 'suspended' : `of status ${status}`;
  return deny('token_revoked', { cause: `revoked: its status list says that the token is ${meaning}` });
}
