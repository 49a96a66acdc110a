/**
 * A channel of Redis: what is published there reaches every sidecar that is subscribed to it. A subscribed connection
 * takes nothing but subscriptions, so each channel has one of its own, to the server that holds our keys.
 */

import { randomUUID } from 'node:crypto';
import { type Channel, type ChannelListener, toldCharsMax } from './drift-port.ts';
import type { RedisConnection } from './redis-connection.ts';

/** How often a connection that hears nothing is asked whether it is still there. */
const aliveMs = 5000;
const retryMs = 1000;

/**
 * In a cluster every node passes on to all others what is published, and everybody here is connected to the same one: a
 * sharded channel would gain nothing, and needs Redis 7.
 */
export function joinRedisChannel(
  connection: RedisConnection,
  channel: string,
  { onTold, onFault }: ChannelListener,
): Channel {
  // Redis gives to who publishes what it published: that is told by this.
  const sender = randomUUID();
  const redis = connection.openBeside();
  let isHeard = false;
  let isAtFault = false;
  let retry: NodeJS.Timeout | null = null;

  function change(fault: Error | null): void {
    isHeard = fault === null;
    if (isAtFault === (fault !== null)) return;
    isAtFault = fault !== null;
    onFault(fault);
  }

  async function subscribe(): Promise<void> {
    try {
      await redis.subscribe(channel);
      change(null);
    } catch (error) {
      // A connection that was cut comes back by itself. One that may not subscribe may do so once its ACL is extended.
      if (redis.status !== 'ready') return;
      change(connection.translate(error));
      retry = setTimeout(subscribe, retryMs).unref();
    }
  }

  redis.on('ready', () => void subscribe());
  redis.on('close', () => {
    isHeard = false;
    if (retry !== null) clearTimeout(retry);
  });
  redis.on('message', (_channel: string, message: string) => {
    if (message.length > sender.length + toldCharsMax || message.startsWith(sender)) return;
    onTold(message.slice(sender.length));
  });
  // An answer that does not come costs the connection its life (socketTimeout), and another is made.
  const alive = setInterval(() => void (isHeard && redis.ping().catch(() => {})), aliveMs).unref();

  return {
    async tell(text) {
      if (text.length > toldCharsMax) return 0;
      if (!connection.isUp()) throw connection.fault();
      try {
        const heardBy = await connection.within(connection.redis.publish(channel, sender + text));
        return Math.max(0, heardBy - (isHeard ? 1 : 0));
      } catch (error) {
        throw connection.translate(error);
      }
    },
    close() {
      clearInterval(alive);
      if (retry !== null) clearTimeout(retry);
      redis.disconnect();
    },
  };
}
