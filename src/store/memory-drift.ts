/** State of behaviour for a single process. Forgotten when it ends; what was used longest ago goes first. */

import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type ChannelListener, type DriftStore, type Stored, toldCharsMax } from './drift-port.ts';

const bytesMaxUsual = 64 * 1024 * 1024;

export function createMemoryDrift(bytesMax = bytesMaxUsual): DriftStore {
  const kept = new LRUCache<string, Stored>({
    maxSize: bytesMax,
    sizeCalculation: ({ bytes }, name) => bytes.length + name.length + 64,
  });
  const channels = new Map<string, Set<ChannelListener>>();
  return {
    async read(name) {
      return kept.get(name) ?? null;
    },
    async write(name, expected, bytes, lifetimeMs) {
      if ((kept.peek(name)?.version ?? null) !== expected) return null;
      const version = randomUUID();
      kept.set(name, { version, bytes: bytes.slice() }, lifetimeMs === null ? {} : { ttl: lifetimeMs });
      return version;
    },
    async has(names) {
      return names.map((name) => kept.has(name));
    },
    join(name, listener) {
      const members = channels.get(name) ?? new Set();
      channels.set(name, members.add(listener));
      return {
        async tell(text) {
          const others = text.length > toldCharsMax ? [] : [...members].filter((member) => member !== listener);
          for (const { onTold } of others) onTold(text);
          return others.length;
        },
        close() {
          members.delete(listener);
          if (members.size === 0 && channels.get(name) === members) channels.delete(name);
        },
      };
    },
  };
}
