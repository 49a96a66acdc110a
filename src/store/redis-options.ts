/** Where Redis is, and how the client library is to treat it. */

import { isIP } from 'node:net';
import type { RedisOptions } from 'ioredis';
import { Fault } from '../errors.ts';

const disconnectTimeoutMs = 1000;

/** Everything that the library would otherwise decide for us. */
export function fixedOptions(timeoutMs: number) {
  return {
    protocol: 2,
    replyMapping: 'legacy',
    lazyConnect: false,
    connectTimeout: Math.max(timeoutMs, 1000),
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

/** Which server, and as whom. */
export function addressOptions(address: RedisAddress, password: string | null) {
  return {
    host: address.host,
    port: address.port,
    db: address.db,
    ...(address.username === null ? {} : { username: address.username }),
    ...(password === null ? {} : { password }),
    ...(address.isTls ? { tls: tlsOptions(address.host) } : {}),
  } satisfies RedisOptions;
}

function tlsOptions(host: string): NonNullable<RedisOptions['tls']> {
  // RFC 6066 §3: a server name is never an address.
  return { rejectUnauthorized: true, minVersion: 'TLSv1.2', ...(isIP(host) === 0 ? { servername: host } : {}) };
}

export type RedisAddress = {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username: string | null;
  readonly password: string | null;
  readonly isTls: boolean;
};

/** The library would take any option from the query of a URL, so the URL is read here. Messages never quote it. */
export function parseAddress(text: string): RedisAddress {
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
