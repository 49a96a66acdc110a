/** Where Redis is, and how the client library is to treat it. */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { RedisOptions } from 'ioredis';
import { Fault } from '../errors.ts';

/** How long a socket may take to end before it is destroyed. */
export const disconnectTimeoutMs = 1000;

/** How long connecting may take: the store's timeout is for an answer, and a handshake is several. */
export const connectTimeoutMs = (timeoutMs: number) => Math.max(timeoutMs, 1000);

/** Everything that the library would otherwise decide for us. */
export function fixedOptions(timeoutMs: number) {
  return {
    protocol: 2,
    replyMapping: 'legacy',
    lazyConnect: false,
    connectTimeout: connectTimeoutMs(timeoutMs),
    disconnectTimeout: disconnectTimeoutMs,
    // A server that goes silent, in the handshake too, loses its connection, and commands stop piling up behind it.
    socketTimeout: Math.max(2 * timeoutMs, 1000),
    keepAlive: 30_000,
    noDelay: true,
    // A command that can't be sent now fails now, and one that was cut off is never sent again behind our back.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // The ready check is ours, in redis-connection.ts.
    enableReadyCheck: false,
    // Calls are coalesced by the store itself.
    enableAutoPipelining: false,
    autoResubscribe: false,
    disableClientInfo: true,
    connectionName: 'postern',
    readOnly: false,
    monitor: false,
    stringNumbers: false,
    keyPrefix: '',
    showFriendlyErrorStack: false,
  } as const satisfies RedisOptions;
}

/** Where a store may be, as the configuration says it: exactly one of `url`, `sentinels` and `cluster`. */
export type RedisAccess = {
  /** redis:// or rediss://, with an optional user, password and database number, and nothing else. */
  readonly url?: string | undefined;
  /** host:port each. */
  readonly sentinels?: readonly string[] | undefined;
  /** What the Sentinels call the primary and its replicas. */
  readonly sentinelName?: string | undefined;
  readonly sentinelUsername?: string | undefined;
  readonly sentinelPasswordFile?: string | undefined;
  /** host:port of some nodes; the others are learnt from them. */
  readonly cluster?: readonly string[] | undefined;
  /** Goes before a user name in the URL. */
  readonly username?: string | undefined;
  /** Goes before a password in the URL. */
  readonly password?: string | undefined;
  /** Goes before both, and is read again while in use. */
  readonly passwordFile?: string | undefined;
  readonly tls?: RedisTls | undefined;
};

/** Files are read for each connection, so that renewed certificates need no restart. */
export type RedisTls = {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** The name that every server's certificate must have, instead of the host that was connected to. */
  readonly serverName?: string | undefined;
};

export type HostPort = { readonly host: string; readonly port: number };

/** How the server to talk to is found. */
export type RedisPlace =
  | { readonly kind: 'server'; readonly at: HostPort }
  | { readonly kind: 'sentinel'; readonly seeds: readonly HostPort[]; readonly name: string }
  | { readonly kind: 'cluster'; readonly seeds: readonly HostPort[] };

export type RedisTarget = {
  readonly place: RedisPlace;
  readonly db: number;
  readonly username: string | null;
  readonly password: string | null;
  /** Null for plain TCP. */
  readonly tls: RedisTls | null;
};

/** Throws a Fault where it is not said, or said twice, where Redis is. */
export function readTarget(access: RedisAccess): RedisTarget {
  const { url, sentinels, sentinelName, cluster, tls = null } = access;
  if ([url, sentinels, cluster].filter((place) => place !== undefined).length !== 1) {
    throw new Fault('configuration', 'store needs exactly one of url, sentinels and cluster');
  }
  if (url !== undefined) {
    const address = parseAddress(url);
    return {
      place: { kind: 'server', at: { host: address.host, port: address.port } },
      db: address.db,
      username: access.username ?? address.username,
      password: access.password ?? address.password,
      tls: address.isTls ? (tls ?? {}) : null,
    };
  }
  const identity = { db: 0, username: access.username ?? null, password: access.password ?? null, tls };
  if (cluster !== undefined) return { place: { kind: 'cluster', seeds: cluster.map(parseHostPort) }, ...identity };
  const seeds = (sentinels ?? []).map(parseHostPort);
  if (sentinelName === undefined) throw new Fault('configuration', 'store.sentinels needs a store.sentinelName');
  return { place: { kind: 'sentinel', seeds, name: sentinelName }, ...identity };
}

/** Brackets around an IPv6 address are for text only. */
export function parseHostPort(text: string): HostPort {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

export function formatHostPort({ host, port }: HostPort): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

export const isSame = (a: HostPort, b: HostPort) => a.host === b.host && a.port === b.port;

/** Verification is never off. Throws a Fault where a file can't be read. */
export function tlsOptions(tls: RedisTls, host: string): ConnectionOptions {
  const { caFile, certFile, keyFile, serverName } = tls;
  // RFC 6066 §3: a server name is never an address.
  const servername = serverName ?? (isIP(host) === 0 ? host : undefined);
  return {
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ...(servername === undefined ? {} : { servername }),
    ...(caFile === undefined ? {} : { ca: readTlsFile(caFile) }),
    ...(certFile === undefined ? {} : { cert: readTlsFile(certFile) }),
    ...(keyFile === undefined ? {} : { key: readTlsFile(keyFile) }),
  };
}

function readTlsFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Fault('TLSFILE', `cannot be connected to, because ${file} cannot be read (${systemCode(error)})`);
  }
}

export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown fault';
}

type RedisAddress = {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username: string | null;
  readonly password: string | null;
  readonly isTls: boolean;
};

/** The library would take any option from the query of a URL, so the URL is read here. Messages never quote it. */
function parseAddress(text: string): RedisAddress {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'redis:' && url.protocol !== 'rediss:') || url.hostname === '') {
    throw new Fault('configuration', 'store.url must be a URL such as redis://redis:6379/0');
  }
  if (url.search !== '' || url.hash !== '') {
    throw new Fault('configuration', 'store.url must have no query or fragment; options have keys of their own');
  }
  if (!/^(\/\d{0,5})?$/.test(url.pathname)) {
    throw new Fault('configuration', 'store.url must have a path that is a database number, such as /0');
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 6379 : Number(url.port),
    db: Number(url.pathname.slice(1)),
    username: url.username === '' ? null : decode(url.username),
    password: url.password === '' ? null : decode(url.password),
    isTls: url.protocol === 'rediss:',
  };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Fault('configuration', 'store.url must percent-encode its user name and password correctly');
  }
}
