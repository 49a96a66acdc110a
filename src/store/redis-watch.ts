/**
 * Listens to every Sentinel for a change of the primary. The old one may live on and take writes for ten seconds and
 * more, so nobody who is connected to it would notice by itself.
 */

import { Redis } from 'ioredis';
import { fixedOptions, type HostPort, isSame, type RedisTls } from './redis-options.ts';
import { type Login, loginOptions } from './redis-password.ts';
import type { Locate } from './redis-primary.ts';
import { connectorTo, type OpenSocket } from './redis-socket.ts';

const retryDelayMs = 1000;

export type WatchOptions = {
  readonly sentinels: readonly HostPort[];
  readonly timeoutMs: number;
  readonly openSocket: OpenSocket;
  readonly tls: RedisTls | null;
  readonly login: () => Login;
  readonly locate: Locate;
  /** The server that is in use; null while there is none. */
  readonly current: () => HostPort | null;
  readonly onMoved: () => void;
};

/** What a Sentinel says is only taken as a hint to ask them all. */
export function watchSentinels(options: WatchOptions): { readonly close: () => void } {
  const { locate, current, onMoved } = options;
  const closed = new AbortController();
  let isAsking = false;
  let isAskedAgain = false;

  async function verify(): Promise<void> {
    isAskedAgain = true;
    if (isAsking) return;
    isAsking = true;
    while (isAskedAgain && !closed.signal.aborted) {
      isAskedAgain = false;
      const found = await locate(closed.signal).catch(() => null);
      const used = current();
      if (found !== null && used !== null && !isSame(found, used) && !closed.signal.aborted) onMoved();
    }
    isAsking = false;
  }

  const clients = options.sentinels.map((at) => listen(options, at, () => void verify()));
  return {
    close: () => {
      closed.abort();
      for (const client of clients) client.disconnect();
    },
  };
}

function listen({ timeoutMs, openSocket, tls, login }: WatchOptions, at: HostPort, onHint: () => void): Redis {
  const freshLogin = () => {
    try {
      return loginOptions(login());
    } catch {
      // Without its password file a Sentinel is asked in vain; the others may have none.
      return {};
    }
  };
  const client: Redis = new Redis({
    ...fixedOptions(timeoutMs),
    ...freshLogin(),
    ...(tls === null ? {} : { tls: {} }),
    Connector: connectorTo({ locate: () => Promise.resolve(at), openSocket, onLocated: () => {} }),
    retryStrategy: () => {
      Object.assign(client.options, freshLogin());
      return retryDelayMs * (0.75 + Math.random() / 4);
    },
  });
  // A Sentinel that is away says nothing; that it is away is no fault while others are there.
  client.on('error', () => {});
  client.on('message', onHint);
  client.on('ready', () => {
    client.subscribe('+switch-master').then(onHint, () => {});
  });
  return client;
}
