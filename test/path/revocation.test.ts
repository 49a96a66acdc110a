import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Harness, type StoreKind, startSidecar, stores } from '../support/sidecar.ts';

const claims = {
  sub: 'alice',
  client_id: 'web-client',
  email: 'alice@example.com',
  operator: 'bob@example.com',
  delegation_id: 'grant-7',
  act: { sub: 'agent-7', act: { sub: 'planner-1' } },
};

describe.each(Object.keys(stores) as StoreKind[])(
  'what is revoked is refused from the next call on (%s store)',
  (kind) => {
    let harness: Harness;
    beforeAll(async () => {
      harness = await startSidecar({ store: stores[kind](), config: { agents: { claims: { owner: 'operator' } } } });
    });
    afterAll(() => harness.close());

    const told = async (body: object) => {
      const { status, text } = await harness.admin('POST', '/v1/revocations', { reason: 'test', ...body });
      return { status, body: JSON.parse(text) as { id: string; aliases?: readonly { id: string }[] } };
    };
    const soon = () => new Date(Date.now() + 60_000).toISOString();

    it.each<[string, (harness: Harness) => object]>([
      ['jti', ({ issuer }) => ({ jti: 'token-1', issuer: issuer.issuer })],
      ['agent', () => ({ agent: 'agent-7' })],
      ['the client behind an agent', () => ({ agent: 'web-client' })],
      ['an agent further down the chain', () => ({ agent: 'planner-1' })],
      ['subject', () => ({ subject: 'alice' })],
      ['subject of one issuer', ({ issuer }) => ({ subject: 'alice', issuer: issuer.issuer })],
      ['subject by address', () => ({ sub_id: { format: 'email', email: 'Alice@example.com' } })],
      ['subject by iss_sub', ({ issuer }) => ({ sub_id: { format: 'iss_sub', iss: issuer.issuer, sub: 'alice' } })],
      ['owner', () => ({ owner: 'bob@example.com' })],
      ['jkt', ({ agentKey }) => ({ jkt: agentKey.jkt })],
      ['delegation', () => ({ delegation: 'grant-7' })],
      ['issuer up to a time', ({ issuer }) => ({ issuer: issuer.issuer, issued_before: soon() })],
      ['agent up to a time', () => ({ agent: 'agent-7', issued_before: soon() })],
    ])('%s', async (_name, bodyOf) => {
      const token = harness.mint({ claims: { ...claims, jti: 'token-1' } });
      expect((await harness.call('/api/x', { token })).status).toBe(200);
      const revoked = await told(bodyOf(harness));
      expect(revoked.status).toBe(201);
      const before = harness.upstream.requests.length;
      const refused = await harness.call('/api/x', { token });
      expect([refused.status, refused.reason]).toEqual([401, 'token_revoked']);
      expect(harness.upstream.requests.length).toBe(before);
      expect((await harness.record(refused.decision)).cause).toMatch(/^revoked: \["/);
      expect((await harness.admin('DELETE', `/v1/revocations/${revoked.body.id}`)).status).toBe(200);
      expect((await harness.call('/api/x', { token })).status).toBe(200);
    });

    it('leaves alone what is not meant', async () => {
      const others = [
        { jti: 'token-2', issuer: harness.issuer.issuer },
        { agent: 'agent-8' },
        { subject: 'alice2' },
        { owner: 'agent-7' },
        { delegation: 'alice' },
        { jkt: 'A'.repeat(43) },
        { issuer: harness.issuer.issuer, issued_before: '2020-01-01T00:00:00Z' },
      ];
      for (const body of others) expect((await told(body)).status).toBe(201);
      const token = harness.mint({ claims: { ...claims, jti: 'token-1' } });
      expect((await harness.call('/api/x', { token })).status).toBe(200);
    });

    it('lets a new login pass after all older tokens were revoked', async () => {
      const older = harness.mint({ claims: { sub: 'carol' }, nowMs: Date.now() - 10_000 });
      const issuedBefore = new Date(Date.now() - 5000).toISOString();
      expect((await told({ subject: 'carol', issued_before: issuedBefore })).status).toBe(201);
      expect((await harness.call('/api/x', { token: older })).reason).toBe('token_revoked');
      expect((await harness.call('/api/x', { token: harness.mint({ claims: { sub: 'carol' } }) })).status).toBe(200);
    });

    it('refuses an issuer that is not configured, and makes no entry', async () => {
      const { status, body } = await told({ jti: 'x', issuer: `${harness.issuer.issuer}/` });
      expect([status, body]).toMatchObject([400, { detail: expect.stringContaining(harness.issuer.issuer) }]);
    });

    it('lists in pages, and counts what is in force', async () => {
      const agents = Array.from({ length: 5 }, (_, i) => `listed-${i}`);
      for (const agent of agents) expect((await told({ agent })).status).toBe(201);
      type Page = { revocations: readonly { agent: string; created_at: string }[]; next: string | null };
      const page = async (query: string): Promise<Page> =>
        JSON.parse((await harness.admin('GET', `/v1/revocations${query}`)).text);
      const first = await page('?limit=3');
      const second = await page(`?limit=2&cursor=${first.next}`);
      const both = [...first.revocations, ...second.revocations];
      expect([first.revocations.length, both.map(({ agent }) => agent).toSorted()]).toEqual([3, agents]);
      // Those of one millisecond are in some order, the same each time.
      const times = both.map(({ created_at: time }) => time);
      expect(times).toEqual(times.toSorted().reverse());
      const all = await page('?limit=1000');
      expect(all.next).toBeNull();
      const { text } = await harness.admin('GET', '/metrics');
      expect(text).toContain(`\npostern_revocations ${all.revocations.length}\n`);
      for (const query of ['?limit=0', '?limit=1001', '?cursor=x', '?offset=3']) {
        expect((await harness.admin('GET', `/v1/revocations${query}`)).status).toBe(400);
      }
    });
  },
);
