import { createServer } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { deny } from '../src/decision.ts';
import type { Exchange } from '../src/exchange.ts';
import { createRefusal, createRefuse } from '../src/refuse.ts';
import { listenOn, RawClient } from './support/raw-http.ts';

const options = {
  proofAlgorithms: ['ES256'],
  accepts: ['dpop', 'mtls'] as const,
  discardBytesMax: 1024,
  discardMs: 1000,
  takeMs: 300,
};

function exchangeBy(method: 'dpop' | 'mtls' | null): Exchange {
  const outcome = { status: 0, upstreamStatus: null, bytesIn: 0, bytesOut: 0, end: 'complete' };
  const identity = method === null ? null : { possession: { method } };
  return { id: 'decision-1', route: null, identity, outcome } as unknown as Exchange;
}

/** A server that refuses everything, and how many refusals have ended. */
async function refusingServer(reason = deny('token_missing'), method: 'dpop' | 'mtls' | null = null) {
  const refuse = createRefuse(options);
  const seen = { begun: 0, ended: 0 };
  const server = createServer((incoming, response) => {
    seen.begun += 1;
    void refuse(exchangeBy(method), reason, incoming, response).then(() => {
      seen.ended += 1;
    });
  });
  const port = await listenOn(server);
  return { port, seen, server };
}

describe('a refusal', () => {
  it('cuts off a client that takes none of its answers', async () => {
    const { port, seen, server } = await refusingServer();
    const client = connect(port, '127.0.0.1').pause();
    client.on('error', () => {});
    const many = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(1000);
    // More answers than all buffers between the two hold.
    for (let round = 0; round < 50; round++) client.write(many);
    await new Promise<void>((resolve) => server.once('connection', (socket) => socket.once('close', () => resolve())));
    expect(seen.begun).toBeGreaterThan(0);
    await expect.poll(() => seen.ended).toBe(seen.begun);
    client.destroy();
    server.close();
  });

  it('is not hurried while it waits its turn behind another answer', async () => {
    const refuse = createRefuse(options);
    let finishFirst = () => {};
    let isRefusing = false;
    const server = createServer((incoming, response) => {
      if (incoming.url === '/slow') finishFirst = () => response.end('first');
      else {
        isRefusing = true;
        void refuse(exchangeBy(null), deny('token_missing'), incoming, response);
      }
    });
    const client = new RawClient(await listenOn(server));
    client.send('GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await expect.poll(() => isRefusing).toBe(true);
    // The refusal is given up this long after it began, if its turn does not count.
    await new Promise((resolve) => setTimeout(resolve, 2 * options.takeMs));
    finishFirst();
    expect(await client.until((text) => text.includes('token_missing'))).toContain('first');
    client.destroy();
    server.close();
  });

  it.each([
    ['DPoP', 'dpop', ['DPoP error="insufficient_scope"']],
    ['Bearer', 'mtls', ['Bearer error="insufficient_scope"', 'DPoP algs=']],
  ] as const)('puts the error on the scheme that was used: %s', async (_scheme, method, beginnings) => {
    const { port, server } = await refusingServer(deny('scope_insufficient', { challenge: { scope: 'a b' } }), method);
    const client = new RawClient(port).send('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    const text = await client.until((received) => received.endsWith('}'));
    const challenges = [...text.matchAll(/www-authenticate: (.*)\r\n/g)].map(([, challenge = '']) => challenge);
    expect(challenges).toHaveLength(beginnings.length);
    for (const [index, beginning] of beginnings.entries()) expect(challenges[index]).toMatch(`${beginning}`);
    expect(challenges[0]).toContain('scope="a b"');
    client.destroy();
    server.close();
  });
});

describe('the text of a challenge', () => {
  it('cannot break out of its quotes or its line', () => {
    const refusal = createRefusal(options)(deny('token_invalid', { detail: 'a "b" \\ \r\nx: y é' }), 'id');
    const challenge = refusal.fields.find(([name]) => name === 'www-authenticate')?.[1];
    expect(challenge).toBe(`DPoP error="invalid_token", error_description="a 'b' ' ??x: y ?", algs="ES256"`);
  });
});
