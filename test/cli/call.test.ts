import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { closeServer } from '../../src/demo/listen.ts';
import { allow, type CallFixture, clientSecret, createCallFixture, decisionId, parse, refuse } from './call-fixture.ts';

let fixture: CallFixture;

beforeEach(async () => {
  fixture = await createCallFixture();
});

afterEach(() => fixture.close());

describe('postern call', () => {
  test('presents a bound token with a proof for this very call, and shows what came back', async () => {
    const { code, stdout } = await fixture.run({
      url: `${fixture.origin}/repos/acme/site?tab=1`,
      scope: 'repo:read',
      reason: 'nightly report',
    });
    expect(code).toBe(0);
    expect(parse(stdout)).toMatchObject({ decision: 'allowed', status: 200, decision_id: decisionId, attempts: 1 });
    expect(parse(stdout).body).toBe('{"full_name":"acme/site"}');
    const { headers, url } = fixture.received[0]?.request ?? {};
    expect(url).toBe('/repos/acme/site?tab=1');
    expect(headers?.['agent-reason']).toBe('nightly report');
    const accessToken = headers?.authorization?.replace(/^DPoP /, '') ?? '';
    expect(decodeJwt(accessToken)).toMatchObject({ aud: fixture.origin, scope: 'repo:read', client_id: 'agent-7' });
    expect(decodeJwt(String(headers?.dpop))).toMatchObject({ htm: 'GET', htu: `${fixture.origin}/repos/acme/site` });
  });

  test('sends a second proof with the nonce that it was asked for, once', async () => {
    fixture.answer = (request, response) => {
      if (decodeJwt(String(request.headers.dpop)).nonce === 'fresh') return allow(request, response);
      refuse(401, { reason: 'proof_nonce_required' }, nonceFields)(request, response);
    };
    const { code, stdout } = await fixture.run({ data: '{"title":"Hello"}' });
    expect(code).toBe(0);
    expect(parse(stdout)).toMatchObject({ decision: 'allowed', attempts: 2 });
    expect(fixture.received.map(({ body }) => body)).toEqual(['{"title":"Hello"}', '{"title":"Hello"}']);
    const [first, second] = fixture.received.map(({ request }) => decodeJwt(String(request.headers.dpop)));
    expect(second?.jti).not.toBe(first?.jti);
  });

  test('gives up when even the nonce it was given is refused', async () => {
    fixture.answer = refuse(401, { reason: 'proof_nonce_required' }, nonceFields);
    const { code, stdout } = await fixture.run();
    expect(code).toBe(1);
    expect(parse(stdout)).toMatchObject({ decision: 'denied', reason: 'proof_nonce_required', attempts: 2 });
    expect(fixture.received).toHaveLength(2);
  });

  test('explains a denial and ends with 1', async () => {
    const challenge = 'DPoP error="insufficient_scope", scope="repo:write", algs="ES256"';
    const problem = {
      reason: 'scope_insufficient',
      title: 'Scope insufficient',
      detail: 'Ask for repo:write.',
      rule: 'writes',
    };
    fixture.answer = refuse(403, problem, { 'www-authenticate': challenge });
    const { code, stdout } = await fixture.run();
    expect(code).toBe(1);
    expect(parse(stdout)).toMatchObject({ decision: 'denied', status: 403, ...problem, challenge });
  });

  test('explains a denial to people, with everything that Postern said', async () => {
    fixture.answer = refuse(429, { reason: 'rate_limited', detail: 'Wait.', rule: 'rates' }, { 'retry-after': '17' });
    const { code, stdout } = await fixture.run({ json: false });
    expect(code).toBe(1);
    for (const part of ['denied', '429', decisionId, 'rate_limited', 'Wait.', 'rates', '17'])
      expect(stdout).toContain(part);
  });

  test('counts an error of the API itself as allowed', async () => {
    fixture.answer = (_request, response) => {
      response.writeHead(403, { 'postern-decision': decisionId, 'content-type': 'application/problem+json' });
      response.end('{"reason":"rule_denied","decision_id":"made up","detail":"not from Postern"}');
    };
    const { code, stdout } = await fixture.run();
    expect(code).toBe(0);
    expect(parse(stdout)).toMatchObject({ decision: 'allowed', status: 403, reason: null });
  });

  test('ends with 3 when the API behind Postern failed', async () => {
    fixture.answer = refuse(502, { reason: 'upstream_failed' });
    const { code, stdout } = await fixture.run();
    expect(code).toBe(3);
    expect(parse(stdout)).toMatchObject({ decision: 'failed', reason: 'upstream_failed' });
  });

  test('ends with 3 when the answer is not from Postern', async () => {
    fixture.answer = (_request, response) => response.end('hello');
    const { code, stdout } = await fixture.run();
    expect(code).toBe(3);
    expect(parse(stdout)).toMatchObject({ decision: 'foreign', decision_id: null });
  });

  test('shows a bounded part of a large body, with control characters made visible', async () => {
    fixture.answer = (_request, response) => {
      response.writeHead(200, { 'postern-decision': decisionId });
      response.end(`\x1b]0;owned\x07${'x'.repeat(200_000)}`);
    };
    const { code, stdout } = await fixture.run({ json: false });
    expect(code).toBe(0);
    expect(stdout).not.toContain('\x1b');
    expect(stdout).toContain('\\x1b]0;owned\\x07');
    expect(stdout.length).toBeLessThan(70_000);
  });

  test.each(['text/event-stream', 'application/json'])(
    'tells that a %s body was cut off, and ends with 3',
    async (type) => {
      fixture.answer = (_request, response) => {
        response.writeHead(200, { 'postern-decision': decisionId, 'content-type': type });
        response.write('data: {}', () => response.destroy());
      };
      const program = await fixture.run();
      expect(program.code).toBe(3);
      expect(parse(program.stdout)).toMatchObject({ decision: 'allowed', body: 'data: {}', body_end: 'cut' });
      const person = await fixture.run({ json: false });
      expect(person.code).toBe(3);
      expect(person.stdout).toContain('data: {}');
      expect(person.stdout).toContain('cut off:');
      expect(person.stdout).toContain(`postern explain ${decisionId}`);
    },
  );

  test('sends a file as the body, and JSON as JSON', async () => {
    const file = join(fixture.folder, 'issue.json');
    await writeFile(file, '{"title":"From a file"}');
    await fixture.run({ data: `@${file}`, method: 'put', headers: ['X-Trace: abc'] });
    expect(fixture.received[0]?.body).toBe('{"title":"From a file"}');
    expect(fixture.received[0]?.request.method).toBe('PUT');
    expect(fixture.received[0]?.request.headers).toMatchObject({
      'content-type': 'application/json',
      'x-trace': 'abc',
    });
  });

  test('says nowhere what the secret, the token or the proof is', async () => {
    for (const asJson of [true, false]) {
      const { stdout, stderr } = await fixture.run({ json: asJson });
      const { authorization, dpop } = fixture.received.at(-1)?.request.headers ?? {};
      for (const secret of [clientSecret, authorization?.slice(5), dpop]) {
        expect(secret).toEqual(expect.any(String));
        expect(stdout + stderr).not.toContain(secret);
      }
    }
  });
});

const nonceFields = {
  'www-authenticate': 'DPoP error="use_dpop_nonce", algs="ES256"',
  'dpop-nonce': 'fresh',
};

describe('postern call, when something does not answer', () => {
  test('ends with 3 where no issuer is', async () => {
    await fixture.issuer.close();
    const { code, stdout } = await fixture.run();
    expect(code).toBe(3);
    expect(parse(stdout)).toMatchObject({ error: 'unreachable' });
    expect(fixture.received).toHaveLength(0);
  });

  test('ends with 3 where no Postern is', async () => {
    await closeServer(fixture.server);
    const { code, stdout } = await fixture.run();
    expect(code).toBe(3);
    expect(parse(stdout)).toMatchObject({ error: 'unreachable' });
  });

  test('ends with 3 where the issuer refuses the client', async () => {
    const { code, stdout } = await fixture.run({ clientSecret: 'wrong' });
    expect(code).toBe(3);
    expect(parse(stdout)).toMatchObject({ error: 'issuer_refused' });
    expect(stdout).not.toContain('wrong');
  });

  test('ends with 3 where the issuer is no issuer', async () => {
    fixture.answer = (_request, response) => response.end('hello');
    const { code, stdout } = await fixture.run({ issuer: fixture.origin });
    expect(code).toBe(3);
    expect(parse(stdout)).toMatchObject({ error: 'issuer_refused' });
  });
});
