import { describe, expect, test } from 'vitest';
import { ownerHandle, subjectHandle } from '../../src/revocation/handles.ts';
import { createPreview } from '../../src/revocation/preview.ts';
import type { SeenAgent } from '../../src/store/agent-port.ts';
import { nowMs, revocation } from '../store/samples.ts';

const issuer = 'https://login.example.com';

function agent(id: string, more: Partial<SeenAgent> = {}): SeenAgent {
  return {
    id,
    owner: null,
    team: null,
    calls: 1,
    firstMs: nowMs,
    lastMs: nowMs,
    issuers: [issuer],
    keys: [],
    subjects: [],
    chains: [],
    tokens: [],
    ...more,
  };
}

const token = (issuedAtMs: number, ...handles: string[]) => ({
  issuedAtMs,
  expiresAtMs: nowMs + 1000,
  marks: handles.map((handle) => `#${handle}`),
});

const previewOf = (...agents: readonly SeenAgent[]) =>
  createPreview({
    async *scan() {
      for (const one of agents) yield [one];
    },
    markOf: (handle) => `#${handle}`,
    ownersOf: ({ id }) => [`${id}@Owners.example`],
  });

describe('a preview of a revocation', () => {
  test('counts the live tokens that have the handle, of whichever agent', async () => {
    const preview = previewOf(
      agent('a', { tokens: [token(nowMs, 'h'), token(nowMs, 'other'), token(nowMs, 'x', 'h')] }),
      agent('b', { tokens: [token(nowMs, 'h')] }),
      agent('c', { tokens: [token(nowMs, 'other')] }),
    );
    expect(await preview([revocation({ kind: 'jti', handle: 'h' })])).toEqual({
      agents: 2,
      tokens: 3,
      examples: ['a', 'b'],
    });
  });

  test('counts a token once, however many aliases name it', async () => {
    const preview = previewOf(agent('a', { tokens: [token(nowMs, 'h', 'i')] }));
    const both = [revocation({ kind: 'subject', handle: 'h' }), revocation({ kind: 'subject', handle: 'i' })];
    expect(await preview(both)).toMatchObject({ agents: 1, tokens: 1 });
  });

  test('leaves out tokens that are not older than an entry for older ones', async () => {
    const preview = previewOf(agent('a', { tokens: [token(nowMs - 1, 'h'), token(nowMs, 'h')] }), agent('b'));
    const entry = revocation({ kind: 'issuer', value: issuer, handle: 'h', issuedBeforeMs: nowMs });
    expect(await preview([entry])).toEqual({ agents: 1, tokens: 1, examples: ['a'] });
  });

  test.each([
    ['agent', revocation({ kind: 'agent', value: 'a' })],
    ['owner', revocation({ kind: 'owner', handle: ownerHandle('A@owners.example') })],
    ['key', revocation({ kind: 'jkt', value: 'key-1' })],
    ['subject', revocation({ kind: 'subject', handle: subjectHandle('bob@EXAMPLE.com', null) })],
    ['subject of an issuer', revocation({ kind: 'subject', handle: subjectHandle('bob@example.com', issuer), issuer })],
  ])('counts an agent without live tokens by its %s', async (_, entry) => {
    const subjects = [JSON.stringify(['Bob@example.com', issuer])];
    const preview = previewOf(agent('a', { keys: ['key-1'], subjects }), agent('b'));
    expect(await preview([entry])).toEqual({ agents: 1, tokens: 0, examples: ['a'] });
  });

  test('leaves out an agent that only looks like it', async () => {
    const preview = previewOf(agent('a', { subjects: [JSON.stringify(['bob', 'https://other.example'])] }));
    const entry = revocation({ kind: 'subject', handle: subjectHandle('bob', issuer), issuer });
    expect(await preview([entry])).toMatchObject({ agents: 0 });
    expect(await preview([revocation({ kind: 'jti', value: 'a', issuer })])).toMatchObject({ agents: 0 });
  });

  test('names ten agents at most', async () => {
    const preview = previewOf(...Array.from({ length: 12 }, (_, at) => agent('a', { keys: [`k${at}`, 'k'] })));
    const { agents, examples } = await preview([revocation({ kind: 'jkt', value: 'k' })]);
    expect([agents, examples.length]).toEqual([12, 10]);
  });
});
