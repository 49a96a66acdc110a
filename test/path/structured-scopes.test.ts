import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Harness, startSidecar } from '../support/sidecar.ts';

/** The rules of the README, as they stand there. */
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const rules = /```yaml\n(rules:\n {2}- id: payments-under-the-limit\n[\s\S]*?)```/.exec(readme)?.[1] ?? '';

describe('rules for scopes with a structure', () => {
  let harness: Harness;
  beforeAll(async () => {
    const route = { match: { pathPrefix: '/', methods: ['GET', 'POST'] }, inspectBody: { json: true } };
    harness = await startSidecar({ rules, route });
  });
  afterAll(() => harness.close());

  const post = async (path: string, scope: string, body: object) => {
    const answer = await harness.call(path, {
      method: 'POST',
      token: harness.mint({ scope }),
      fields: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return answer.reason ?? answer.status;
  };

  it('let a payment pass below the largest limit of the token, and none at or above it', async () => {
    const scope = 'payment:execute:under-100 payment:execute:under-20';
    expect(await post('/payments', scope, { amount: 99.99 })).toBe(200);
    expect(await post('/payments', scope, { amount: 100 })).toBe('no_matching_rule');
    expect(await post('/payments', 'payment:read', { amount: 1 })).toBe('no_matching_rule');
    expect(await post('/payments', scope, {})).toBe('policy_error');
  });

  it('let a write pass to the project that the scope names, and to no other', async () => {
    const scope = 'repo:write:my-project';
    expect(await post('/repos/my-project/issues', scope, {})).toBe(200);
    expect(await post('/repos/my-project2/issues', scope, {})).toBe('no_matching_rule');
    expect(await post('/repos/other/issues', scope, {})).toBe('no_matching_rule');
  });
});
