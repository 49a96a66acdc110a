import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

const allowInPath = ['encoded-slash', 'semicolon', 'empty-segments', 'double-encoding'];
let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar({ route: { allowInPath } });
});
afterAll(() => harness.close());

/** Sends exactly this target, with a proof whose htu is that of the second. */
async function send(target: string, htuPath = target): Promise<{ status: number; reason: string | undefined }> {
  const token = harness.mint();
  const proof = mintProof({
    key: harness.agentKey,
    method: 'GET',
    url: `${publicOrigin}${htuPath}`,
    accessToken: token,
  });
  const client = new RawClient(harness.port).send(
    `GET ${target} HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${proof}\r\n\r\n`,
  );
  const text = await client.until((received) => received.includes('"}') || received.includes('{"ok":true}'));
  client.destroy();
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]), reason: /"reason":"([a-z_]+)"/.exec(text)?.[1] };
}

describe('a target that its route has opted in to', () => {
  it.each(['/api/group%2Fproject', '/api/a;v=1/b', '/api/a//b', '/api/100%25', '/api/a%2520b'])(
    '%s is what was judged, what the proof names and what is sent',
    async (target) => {
      const before = harness.upstream.requests.length;
      expect(await send(target)).toEqual({ status: 200, reason: undefined });
      expect(harness.upstream.requests.slice(before).map(({ url }) => url)).toEqual([target]);
    },
  );

  it.each([
    ['/api/group%2Fproject', '/api/group/project'],
    ['/api/a;v=1/b', '/api/a/b'],
    ['/api/a//b', '/api/a/b'],
    ['/api/a%2541', '/api/a%41'],
  ])('%s is not the same to a proof as %s', async (target, htuPath) => {
    const before = harness.upstream.requests.length;
    expect(await send(target, htuPath)).toEqual({ status: 401, reason: 'proof_invalid' });
    expect(harness.upstream.requests.length).toBe(before);
  });

  it.each(['/api/a%2F..%2Fb', '/api/..;/b', '/api/%252e%252e/b', '//api/x', '/api%2Fx', '/api;x/y', '/api/a%5Cb'])(
    '%s is still refused',
    async (target) => {
      const before = harness.upstream.requests.length;
      const { status, reason } = await send(target);
      expect(['target_ambiguous', 'no_route']).toContain(reason);
      expect([400, 404]).toContain(status);
      expect(harness.upstream.requests.length).toBe(before);
    },
  );
});
