import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type SampleApi, startSampleApi } from '../../src/demo/sample-api.ts';

const secret = 'the-key-of-the-sample-api';
const headers = { authorization: `Bearer ${secret}` };
let api: SampleApi;

beforeEach(async () => {
  api = await startSampleApi({ port: 0, secret });
});

afterEach(() => api.close());

const at = (path: string) => `${api.origin}${path}`;
const post = (body: string) => fetch(at('/repos/acme/site/issues'), { method: 'POST', headers, body });

describe('the sample API', () => {
  test.each([undefined, 'Bearer wrong', secret, `Bearer ${secret} `.concat('x'), `DPoP ${secret}`])(
    'answers 401 without its key (%#)',
    async (authorization) => {
      const response = await fetch(at('/repos/acme/site'), {
        headers: authorization === undefined ? {} : { authorization },
      });
      expect(response.status).toBe(401);
      expect(await response.text()).not.toContain('acme/site');
      expect(api.received().at(-1)?.isAuthorized).toBe(false);
    },
  );

  test('gives a repository, and the repositories of an owner', async () => {
    const one = await fetch(at('/repos/acme/site?tab=readme'), { headers });
    expect(await one.json()).toMatchObject({ full_name: 'acme/site', open_issues: 1 });
    const list = await fetch(at('/repos/acme'), { headers });
    expect(await list.json()).toHaveLength(2);
  });

  test('tells what it was sent, its key included, for want of better manners', async () => {
    const told = await fetch(at('/repos/acme/site/debug'), { headers });
    expect(await told.json()).toMatchObject({ you_sent: { authorization: `Bearer ${secret}` } });
  });

  test('streams events until the client leaves', async () => {
    const response = await fetch(at('/repos/acme/site/events'), { headers });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const reader = response.body?.getReader();
    const { value } = (await reader?.read()) ?? {};
    expect(new TextDecoder().decode(value)).toBe('event: push\ndata: {"commit":1}\n\n');
    await reader?.cancel();
  });

  test('answers HEAD without a body', async () => {
    const response = await fetch(at('/repos/acme/site'), { method: 'HEAD', headers });
    expect(response.status).toBe(200);
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(0);
    expect(await response.text()).toBe('');
  });

  test('creates an issue that is there afterwards', async () => {
    const created = await post('{"title":"Broken link"}');
    expect(created.status).toBe(201);
    expect(created.headers.get('location')).toBe('/repos/acme/site/issues/2');
    const issues = await (await fetch(at('/repos/acme/site/issues'), { headers })).json();
    expect(issues).toContainEqual({ number: 2, title: 'Broken link' });
  });

  test.each(['', 'no json', '[]', 'null', '{"title":""}', '{"title":7}', `{"title":"${'x'.repeat(20_000)}"}`])(
    'answers 422 to a body that is no issue (%#)',
    async (body) => {
      expect((await post(body)).status).toBe(422);
    },
  );

  test.each(['/', '/repos', '/repos/acme/nothing', '/repos/acme/site/issues/1/x', '/admin/keys'])(
    'answers 404 to %s',
    async (path) => {
      expect((await fetch(at(path), { headers })).status).toBe(404);
    },
  );

  test('remembers what it received, and never sends it back', async () => {
    const response = await fetch(at('/repos/acme/site'), { headers: { ...headers, 'x-trace': 'abc' } });
    expect(JSON.stringify([...response.headers]) + (await response.text())).not.toContain(secret);
    const received = api.received().at(-1);
    expect(received).toMatchObject({ method: 'GET', target: '/repos/acme/site', isAuthorized: true });
    expect(received?.fields).toContainEqual(['x-trace', 'abc']);
    expect(received?.fields).toContainEqual(['authorization', `Bearer ${secret}`]);
  });

  test('remembers a bounded number of requests and counts them all', async () => {
    for (let index = 0; index < 105; index += 1) await fetch(at(`/repos/acme?${index}`), { headers });
    expect(api.count()).toBe(105);
    expect(api.received()).toHaveLength(100);
    expect(api.received()[0]?.target).toBe('/repos/acme?5');
  });
});
