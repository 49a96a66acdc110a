import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigurationFault } from '../../src/errors.ts';
import { type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

const document = `
openapi: 3.1.0
paths:
  /pets: { get: { operationId: listPets } }
  /pets/{petId}: { get: { operationId: getPet }, delete: {} }
`;

const openapi = join(mkdtempSync(join(tmpdir(), 'postern-operations-')), 'openapi.yaml');
writeFileSync(openapi, document);

/** Sends a JSON body with a proof for it. */
async function post(harness: Harness, path: string, body: unknown, type = 'application/json') {
  const token = harness.mint();
  const proof = mintProof({ key: harness.agentKey, method: 'POST', url: `${publicOrigin}${path}`, accessToken: token });
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return harness.call(path, { method: 'POST', token, proof, fields: { 'content-type': type }, body: text });
}

describe('the operation of a request', () => {
  let harness: Harness;
  const rules = `
rules:
  - { id: pets, when: 'request.operation in ["listPets", "getPet"]', effect: allow }
  - { id: users, when: 'request.operation == "GET /api/users/{id}"', effect: allow }
`;
  beforeAll(async () => {
    harness = await startSidecar({ rules, route: { stripPrefix: true, openapi } });
  });
  afterAll(() => harness.close());

  it.each([
    ['/api/pets', 200, 'listPets'],
    ['/api/pets/rex', 200, 'getPet'],
    ['/api/users/4711', 200, 'GET /api/users/{id}'],
    ['/api/users/rex', 403, 'GET /api/users/rex'],
    ['/api/pets/rex/', 403, 'GET /api/pets/rex/'],
    ['/api/Pets', 403, 'GET /api/Pets'],
  ])('of %s decides, and is recorded', async (path, status, operation) => {
    const answer = await harness.call(path);
    expect(answer.status).toBe(status);
    expect(await harness.record(answer.decision)).toMatchObject({ operation });
  });

  it('is recorded where nobody is known, and null where there is no route', async () => {
    const anonymous = await harness.call('/api/pets', { token: '', proof: null });
    expect(await harness.record(anonymous.decision)).toMatchObject({ reason: 'token_missing', operation: 'listPets' });
    const nowhere = await harness.call('/nowhere');
    expect(await harness.record(nowhere.decision)).toMatchObject({ reason: 'no_route', operation: null });
  });
});

describe('a document that can not be used', () => {
  const start = async (text: string, route: object = {}) => {
    const file = join(mkdtempSync(join(tmpdir(), 'postern-operations-')), 'openapi.yaml');
    writeFileSync(file, text);
    const fault: unknown = await startSidecar({ route: { openapi: file, ...route } }).then(
      (harness) => harness.close(),
      (error: unknown) => error,
    );
    return fault instanceof ConfigurationFault ? fault.problems : [];
  };

  it('keeps Postern from starting, with the place in the document', async () => {
    expect(await start('openapi: 3.1.0\npaths:\n  /a: 1\n')).toEqual([
      expect.objectContaining({ file: expect.stringMatching(/openapi\.yaml$/), line: 3 }),
    ]);
  });

  it('is looked for from the configuration file on', async () => {
    expect(await start('', { openapi: 'rules.yaml' })).toEqual([
      expect.objectContaining({ file: expect.stringMatching(/postern-test-[^/]+\/rules\.yaml$/) }),
    ]);
  });

  it('is told at the route where it describes another API', async () => {
    const [problem, ...others] = await start(document);
    expect(problem).toMatchObject({ file: expect.stringMatching(/postern\.yaml$/), line: expect.any(Number) });
    expect(problem?.message).toMatch(/^routes\[0\]\.openapi /);
    expect(others).toEqual([]);
  });
});

describe('a call of a tool (MCP)', () => {
  let harness: Harness;
  const rules = `
rules:
  - { id: reading, when: 'request.operation == "mcp:tools/list"', effect: allow }
  - { id: searching, when: 'request.operation == "mcp:tools/call:search"', effect: allow }
  - id: sending-inside
    when: has(mcp.tool) && mcp.tool.name == "send" && mcp.tool.arguments.to.endsWith("@example.com")
    effect: allow
`;
  beforeAll(async () => {
    harness = await startSidecar({ rules, route: { inspectBody: { json: true } } });
  });
  afterAll(() => harness.close());
  const tool = (name: string, given: object = {}) => ({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name, arguments: given },
  });

  it.each<[string, unknown, number, string]>([
    ['listing', { jsonrpc: '2.0', id: 1, method: 'tools/list' }, 200, 'mcp:tools/list'],
    ['a tool', tool('search'), 200, 'mcp:tools/call:search'],
    ['another tool', tool('delete'), 403, 'mcp:tools/call:delete'],
    ['good arguments', tool('send', { to: 'bob@example.com' }), 200, 'mcp:tools/call:send'],
    ['bad arguments', tool('send', { to: 'eve@evil.example' }), 403, 'mcp:tools/call:send'],
    ['a batch', [tool('search')], 403, 'mcp:batch'],
    ['a method with the name of a call', { jsonrpc: '2.0', method: 'tools/call:search' }, 403, 'POST /api/mcp'],
    ['no JSON-RPC', { method: 'tools/list' }, 403, 'POST /api/mcp'],
  ])('is judged by name and arguments: %s', async (_name, body, status, operation) => {
    const before = harness.upstream.requests.length;
    const answer = await post(harness, '/api/mcp', body);
    expect(answer.status).toBe(status);
    expect(harness.upstream.requests.slice(before).map((seen) => seen.body)).toEqual(
      status === 200 ? [JSON.stringify(body)] : [],
    );
    expect(await harness.record(answer.decision)).toMatchObject({ operation });
  });

  it.each([
    ['two spellings of one member', '{"jsonrpc":"2.0","method":"tools/list","Method":"tools/call"}'],
    ['another version', '{"jsonrpc":"2.1","method":"tools/list"}'],
  ])('that servers could read differently is refused: %s', async (_name, body) => {
    const before = harness.upstream.requests.length;
    expect(await post(harness, '/api/mcp', body)).toMatchObject({ status: 400, reason: 'body_malformed' });
    expect(harness.upstream.requests.length).toBe(before);
  });

  it('is refused where a field says another method than the body', async () => {
    const token = harness.mint();
    const answer = await harness.call('/api/mcp', {
      method: 'POST',
      token,
      proof: harness.proofFor('/api/mcp', token, 'POST'),
      fields: { 'content-type': 'application/json', 'mcp-method': 'tools/call' },
      body: '{"jsonrpc":"2.0","method":"tools/list"}',
    });
    expect(answer).toMatchObject({ status: 400, reason: 'body_malformed' });
  });

  it('in a body that is not said to be JSON is none', async () => {
    const answer = await post(harness, '/api/mcp', tool('search'), 'text/plain');
    expect(answer).toMatchObject({ status: 403, reason: 'no_matching_rule' });
    expect(await harness.record(answer.decision)).toMatchObject({ operation: 'POST /api/mcp' });
  });
});
