/** Forwarding on undici: one bounded pool for each credential and origin, no redirects, no retries, HTTP/1.1. */

import { Pool } from 'undici';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { Route } from '../exchange.ts';
import { createRequestFields } from './fields.ts';
import type { ForwardArguments, Lane } from './lane.ts';
import { createPathMap } from './paths.ts';
import { Relay } from './relay.ts';

export type { ForwardArguments } from './lane.ts';

export type ForwardOptions = {
  readonly routes: readonly Route[];
  readonly publicOrigin: string;
  /** Lower case. Stays here unless a route's forwardFields names it. */
  readonly reasonHeader: string;
  /** For each credential and origin. */
  readonly maxConnections: number;
  /** Requests that may wait for a connection, for each credential and origin. */
  readonly maxWaiting: number;
  /** For DNS, TCP and TLS together, and for waiting until a connection is free. */
  readonly connectTimeoutMs: number;
  /** Shared with others of the same bounds, so that connections outlive what a route leads to them by. */
  readonly lots?: Lots;
  /** Certificate authorities to trust instead of Node's own. */
  readonly tls?: { readonly ca?: string | Buffer | (string | Buffer)[] };
};

export type Forward = {
  /** Null when an answer was relayed or the client went away; a Deny when there was nothing to relay. */
  readonly forward: (args: ForwardArguments) => Promise<Deny | null>;
  /** Ends every connection at once that no other shares. Drain the listener first: requests under way fail. */
  readonly close: () => Promise<void>;
};

/** Connections to one origin with one credential, how many requests hold or await one, and who shares them. */
type Lot = { readonly pool: Pool; busy: number; holders: number };
/** By credential and origin. */
export type Lots = Map<string, Lot>;

const upstreamHeaderBytesMax = 65_536;

/** A route that is not among `options.routes` is a fault, as are connections after close. */
export function createForward(options: ForwardOptions): Forward {
  const lots: Lots = options.lots ?? new Map();
  const held = new Map<string, Lot>();
  const lanes = new Map<Route, { readonly lot: Lot; readonly lane: Lane }>();
  const busyMax = options.maxConnections + options.maxWaiting;
  for (const route of options.routes) {
    const key = `${route.credential} ${route.upstream.origin}`;
    const lot = lots.get(key) ?? { pool: createPool(route.upstream.origin, options), busy: 0, holders: 0 };
    lots.set(key, lot);
    if (!held.has(key)) lot.holders += 1;
    held.set(key, lot);
    lanes.set(route, { lot, lane: createLane(route, lot, options) });
  }
  return {
    forward(args) {
      const found = lanes.get(args.route);
      if (found === undefined) throw new Fault('unknown_route', `no upstream was set up for route ${args.route.name}`);
      if (found.lot.busy >= busyMax) {
        const cause = 'too many requests wait for this upstream';
        return Promise.resolve(deny('upstream_failed', { cause, retryAfterSeconds: 1 }));
      }
      found.lot.busy += 1;
      return new Relay(found.lane, args).run();
    },
    async close() {
      const left = [...held].filter(([, lot]) => {
        lot.holders -= 1;
        return lot.holders === 0;
      });
      held.clear();
      for (const [key] of left) lots.delete(key);
      await Promise.all(left.map(([, { pool }]) => pool.destroy()));
    },
  };
}

/** Ends every connection of all that share these. */
export async function closeLots(lots: Lots): Promise<void> {
  await Promise.all([...lots.values()].map(({ pool }) => pool.destroy()));
}

function createLane(route: Route, lot: Lot, options: ForwardOptions): Lane {
  return {
    dispatcher: lot.pool,
    toUpstreamFields: createRequestFields(route, options.reasonHeader),
    responseOptions: {
      // An origin may be configured with a slash at its end.
      paths: createPathMap(route, new URL(options.publicOrigin).origin),
      keepsCookies: route.forwardFields.includes('cookie'),
    },
    connectTimeoutMs: options.connectTimeoutMs,
    onDone: () => {
      lot.busy -= 1;
    },
  };
}

/** Host and SNI come from the origin, for no Host field is ever passed on. Every bound is said, defaults or not. */
function createPool(origin: string, { maxConnections, connectTimeoutMs, tls }: ForwardOptions): Pool {
  return new Pool(origin, {
    connections: maxConnections,
    pipelining: 1,
    allowH2: false,
    // Short, because a server that closes an idle connection just as a request is sent fails that request: nothing is
    // sent twice. Where a server says how long it waits, undici stays a second below.
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 60_000,
    keepAliveTimeoutThreshold: 1000,
    headersTimeout: 30_000,
    bodyTimeout: 300_000,
    maxHeaderSize: upstreamHeaderBytesMax,
    strictContentLength: true,
    maxCachedSessions: 10,
    connect: {
      timeout: connectTimeoutMs,
      autoSelectFamily: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
    },
  });
}
