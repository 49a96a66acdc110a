/** Which requests go on one connection, and what they are paid with. */

import { createKey } from '../support/keys.ts';
import type { Random } from '../support/random.ts';
import { type Harness, publicOrigin } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';
import type { Conversation } from './conversation.ts';
import { type TokenKind, tokenKinds, type Wallet, type WrittenRequest, writeRequest } from './grammar.ts';

/** One token of each kind, shared; proofs are made as they are asked for. */
export function createWallet({ mint, issuer, agentKey }: Harness): Wallet {
  const otherKey = createKey('ES256');
  const make: Readonly<Record<TokenKind, () => string>> = {
    good: () => mint(),
    expired: () => mint({ nowMs: Date.now() - 3_600_000 }),
    'foreign-audience': () => mint({ audience: 'https://elsewhere.example' }),
    'foreign-issuer': () => mint({ issuer: `${issuer.issuer}/other` }),
    unbound: () => mint({ agentKey: undefined }),
    'no-scope': () => mint({ scope: 'write' }),
  };
  const tokens = new Map(tokenKinds.map((kind) => [kind, make[kind]()]));
  return {
    token: (kind) => tokens.get(kind) ?? '',
    proof: ({ path, method, token, isForeign = false }) =>
      mintProof({ key: isForeign ? otherKey : agentKey, method, url: `${publicOrigin}${path}`, accessToken: token }),
  };
}

/** Markers are made of the index, so that each request can be told from all others. */
export function writeConversation(random: Random, wallet: Wallet, index: number): Conversation {
  const isSound = random.percent(45);
  const count = random.pick([1, 1, 2, 2, 3, 5]);
  const requests: WrittenRequest[] = [];
  for (let at = 0; at < count; at++) {
    const flawCount = isSound || random.percent(35) ? 0 : random.pick([1, 1, 1, 2, 3]);
    const request = writeRequest(random, wallet, `m${index}x${at}`, flawCount);
    requests.push(request);
    if (request.isTruncated) break;
  }
  const isPipelined = random.percent(60);
  const [first] = requests;
  // Twice the same bytes: the proof is good for one.
  if (!isPipelined && first !== undefined && first.flaws.length === 0 && first.closes === 'no' && random.percent(15)) {
    const flaw = { what: 'a replay', statuses: [401], closes: 'may' as const };
    return { index, requests: [first, { ...first, flaws: [flaw] }], isPipelined };
  }
  return { index, requests, isPipelined };
}
