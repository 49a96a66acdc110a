/**
 * Finds the server to write to: the one that was named, the one that Sentinels agree on, or the cluster node that owns
 * our slot. All of Postern's keys are in one slot (scripts.ts), so one connection to one server is all it ever needs.
 */

import { Redis } from 'ioredis';
import { Fault } from '../errors.ts';
import { redisCode } from './redis-fault.ts';
import {
  connectTimeoutMs,
  fixedOptions,
  formatHostPort,
  type HostPort,
  type RedisPlace,
  type RedisTls,
} from './redis-options.ts';
import { type Login, loginOptions } from './redis-password.ts';
import { connectorTo, type OpenSocket } from './redis-socket.ts';

/** The slot of every key with the hash tag {v1}: CRC16 of "v1" modulo 16384. */
export const clusterSlot = 1165;

/** Nodes of a cluster that are remembered besides those named, so that these may all be replaced. */
const learntMax = 16;

export type LocateOptions = {
  readonly place: RedisPlace;
  readonly timeoutMs: number;
  readonly openSocket: OpenSocket;
  /** Null for plain TCP. */
  readonly tls: RedisTls | null;
  /** As whom Sentinels, or cluster nodes, are asked. */
  readonly login: () => Login;
};

export type Locate = (signal: AbortSignal) => Promise<HostPort>;

/** Where the primary is in somebody's view, and how new that view is. */
type Opinion = { readonly at: HostPort; readonly epoch: number };

/** The result rejects with a Fault that says what each of those asked has answered. */
export function createLocate(options: LocateOptions): Locate {
  const { place } = options;
  if (place.kind === 'server') return () => Promise.resolve(place.at);
  if (place.kind === 'sentinel') {
    return async (signal) => {
      const asking = place.seeds.map(async (seed) => {
        const reply = await ask(options, seed, ['SENTINEL', 'MASTER', place.name], signal);
        return [seed, sentinelOpinion(reply)] as const;
      });
      return (await newest(place.seeds, asking)).at;
    };
  }
  // A certificate is for a name, where the nodes have announced one; without TLS an address needs no resolver.
  const prefersNames = options.tls !== null && options.tls.serverName === undefined;
  let learnt: readonly HostPort[] = [];
  return async (signal) => {
    const named = new Set(place.seeds.map(formatHostPort));
    const nodes = [...place.seeds, ...learnt.filter((node) => !named.has(formatHostPort(node)))];
    const asking = nodes.map(async (node) => {
      const reply = await ask(options, node, ['CLUSTER', 'NODES'], signal);
      const { primary, others } = readClusterNodes(String(reply), node.host, prefersNames);
      if (others.length > 0) learnt = others.slice(0, learntMax);
      return [node, primary] as const;
    });
    return (await newest(nodes, asking)).at;
  };
}

/**
 * Of the answers the one by the newest epoch, as soon as more than half have answered. A failover needs the votes of
 * more than half, so one of these knows of it; where so many do not answer at all, the newest of the rest has to do.
 */
function newest(
  asked: readonly HostPort[],
  asking: readonly Promise<readonly [HostPort, Opinion | null]>[],
): Promise<Opinion> {
  const { promise, resolve, reject } = Promise.withResolvers<Opinion>();
  const heard: Opinion[] = [];
  const problems: string[] = [];
  let settled = 0;

  function count(): void {
    settled++;
    if (heard.length * 2 <= asked.length && settled < asked.length) return;
    const best = heard.reduce<Opinion | null>((a, b) => (a === null || b.epoch > a.epoch ? b : a), null);
    if (best !== null) resolve(best);
    else reject(new Fault('NOPRIMARY', `cannot be found: nobody knows a primary (${problems.join(', ')})`));
  }

  for (const [index, one] of asking.entries()) {
    one
      .then(
        ([, opinion]) => {
          if (opinion !== null) heard.push(opinion);
          else problems.push(`${formatHostPort(asked[index] ?? { host: '', port: 0 })} knows of none`);
        },
        (error: unknown) => {
          problems.push(`${formatHostPort(asked[index] ?? { host: '', port: 0 })} ${redisCode(error)}`);
        },
      )
      .then(count);
  }
  return promise;
}

/** SENTINEL MASTER answers with names and values in turn. */
function sentinelOpinion(reply: unknown): Opinion | null {
  if (!Array.isArray(reply)) return null;
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]));
  const host = fields.get('ip') ?? '';
  const port = Number(fields.get('port'));
  if (host === '' || !isPort(port)) return null;
  return { at: { host, port }, epoch: Number(fields.get('config-epoch')) };
}

/**
 * One node a line: id, ip:port@bus-port[,hostname], flags, id of its primary, two times, epoch, link state, slots.
 * A node that does not know its own address yet leaves it out.
 */
export function readClusterNodes(
  text: string,
  askedHost: string,
  prefersNames = false,
): { readonly primary: Opinion | null; readonly others: readonly HostPort[] } {
  let primary: Opinion | null = null;
  const others: HostPort[] = [];
  for (const line of text.split('\n')) {
    const [, address = '', flagList = '', , , , epoch = '', , ...slots] = line.split(' ');
    const flags = new Set(flagList.split(','));
    const [endpoint = '', bus = ''] = address.split('@');
    const [, name = ''] = bus.split(',');
    const colon = endpoint.lastIndexOf(':');
    const port = Number(endpoint.slice(colon + 1));
    if (colon < 0 || !isPort(port) || ['noaddr', 'handshake', 'fail'].some((flag) => flags.has(flag))) continue;
    const ip = colon === 0 ? askedHost : endpoint.slice(0, colon);
    const at = { host: prefersNames && isHostName(name) ? name : ip, port };
    others.push(at);
    if (flags.has('master') && slots.some(holdsOurSlot)) primary = { at, epoch: Number(epoch) };
  }
  return { primary, others };
}

/** A slot, or a range of slots; one that is being moved is in brackets besides, and is still its owner's. */
function holdsOurSlot(range: string): boolean {
  const [first = '', last = first] = range.split('-');
  return Number(first) <= clusterSlot && clusterSlot <= Number(last);
}

/** What follows the ports is not always a name: later versions put other things there too. */
function isHostName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$/.test(text);
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port <= 65_535;
}

/** One question over a connection of its own, which is gone afterwards. */
async function ask(
  { timeoutMs, openSocket, tls, login }: LocateOptions,
  at: HostPort,
  [command = '', ...args]: readonly string[],
  signal: AbortSignal,
): Promise<unknown> {
  const client = new Redis({
    ...fixedOptions(timeoutMs),
    lazyConnect: true,
    retryStrategy: () => null,
    ...loginOptions(login()),
    ...(tls === null ? {} : { tls: {} }),
    Connector: connectorTo({ locate: () => Promise.resolve(at), openSocket, onLocated: () => {} }),
  });
  const failed = Promise.withResolvers<never>();
  const stop = () => failed.reject(new Fault('CLOSED', 'no longer wanted'));
  const timer = setTimeout(() => failed.reject(new Fault('TIMEOUT', 'no answer')), connectTimeoutMs(timeoutMs));
  client.on('error', failed.reject);
  signal.addEventListener('abort', stop);
  try {
    // The connection's own promise only says that it has failed, and the event before says why.
    await Promise.race([failed.promise, client.connect()]);
    return await Promise.race([failed.promise, client.call(command, ...args)]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    client.disconnect();
  }
}
