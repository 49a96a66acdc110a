/** The latest decisions, kept in memory so that `GET /v1/decisions/{id}` can explain one. Bounded. */

import { LRUCache } from 'lru-cache';
import type { AuditRecord } from './audit-record.ts';

export type Recent = {
  readonly add: (record: AuditRecord) => void;
  readonly find: (id: string) => AuditRecord | null;
};

export function createRecent(max: number): Recent {
  const records = new LRUCache<string, AuditRecord>({ max });
  return {
    add: (record) => void records.set(record.id, record),
    find: (id) => records.peek(id) ?? null,
  };
}
