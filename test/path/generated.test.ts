/**
 * Thousands of requests by a grammar, good and bad, against a running sidecar, with what must hold of every one:
 *
 *  1. the upstream sees one request for each that is accepted, and none for any other;
 *  2. what it sees is what was judged: method, path, query, fields and body, byte for byte;
 *  3. the injected credential gets there, and never to the client;
 *  4. the agent's own credentials, and what only seems to come from a proxy, never get there;
 *  5. each refusal has exactly one decision record;
 *  6. nothing is answered, let alone forwarded, after what may have put the connection out of step.
 *
 * `POSTERN_SEED=n vitest run test/path/generated.test.ts` repeats a run; the seed is part of each failure.
 */

import { hash } from 'node:crypto';
import { env } from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRandom, seedFrom } from '../support/random.ts';
import { fieldOf } from '../support/raw-responses.ts';
import { type RecordedRequest, startRecordingUpstream } from '../support/recording-upstream.ts';
import { startSidecar, upstreamSecret } from '../support/sidecar.ts';
import { type Conversation, converse, type Heard } from './conversation.ts';
import { createWallet, writeConversation } from './conversations.ts';
import type { WrittenRequest } from './grammar.ts';
import { judgedField } from './grammar-fields.ts';
import { bodyBytesMax } from './grammar-framing.ts';

const seed = seedFrom(env.POSTERN_SEED ?? '20261122');
const conversationsCount = 1800;
const atOnce = 12;

const rules = `
rules:
  - id: read
    when: request.url_path.startsWith("/api/") && "read" in token.scopes
    effect: allow
  - id: forbidden
    when: request.url_path.startsWith("/api/forbidden/")
    effect: deny
  - id: not-evil
    when: '"${judgedField}" in request.headers && request.headers["${judgedField}"].contains("evil")'
    effect: deny
`;

type Line = {
  readonly type: string;
  readonly id: string;
  readonly decision: string;
  readonly reason: string | null;
  readonly status: number;
  readonly upstream_status: number | null;
  readonly request: { readonly method: string; readonly path: string | null; readonly query_sha256: string | null };
};
type Finished = { readonly conversation: Conversation; readonly heard: Heard };

let finished: readonly Finished[] = [];
let seen: readonly RecordedRequest[] = [];
let violations: readonly string[] = [];
let lines: readonly Line[] = [];
let faults: readonly string[] = [];

beforeAll(async () => {
  process.stdout.write(`generated suite: POSTERN_SEED=${seed}\n`);
  const upstream = await startRecordingUpstream();
  const limits = { headers: '4KiB', headerCount: 60, url: '512B' };
  const harness = await startSidecar({
    rules,
    config: { limits, proof: { window: 'mcp' } },
    route: { upstream: `http://127.0.0.1:${upstream.port}`, maxBody: `${bodyBytesMax}B` },
  });
  const wallet = createWallet(harness);
  const done: Finished[] = [];
  let next = 0;
  const work = async () => {
    for (let index = next++; index < conversationsCount; index = next++) {
      const random = createRandom(seed + index * 7919);
      const conversation = writeConversation(random, wallet, index);
      const heard = await converse(harness.port, conversation, random).catch((fault: Error) =>
        expect.unreachable(`${fault.message}: ${describeConversation(conversation)}`),
      );
      done.push({ conversation, heard });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  await harness.close();
  await upstream.close();
  finished = done;
  ({ requests: seen, violations } = upstream);
  lines = harness
    .auditText()
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text) as Line);
  faults = harness.log.filter((text) => (JSON.parse(text) as { level: number }).level >= 50);
}, 60_000);

afterAll(() => {
  const sent = finished.reduce((total, { conversation }) => total + conversation.requests.length, 0);
  const answered = finished.reduce((total, { heard }) => total + heard.responses.length, 0);
  process.stdout.write(
    `${finished.length} connections, ${sent} requests, ${answered} answers, ${seen.length} forwarded\n`,
  );
});

function describeConversation({ index, requests, isPipelined }: Conversation): string {
  const shown = requests.map(({ flaws, bytes }) => ({
    flaws: flaws.map(({ what }) => what),
    bytes: bytes.slice(0, 3000),
  }));
  return `POSTERN_SEED=${seed}, connection ${index}, ${isPipelined ? 'pipelined' : 'in turn'}: ${JSON.stringify(shown, null, 1)}`;
}

/** Calls `check` for each connection, and adds what was sent and heard to its failure. */
function everyConversation(check: (finished: Finished) => void): void {
  expect(finished).toHaveLength(conversationsCount);
  for (const one of finished) {
    try {
      check(one);
    } catch (fault) {
      const heard = one.heard.text.slice(0, 3000);
      const said = describeConversation(one.conversation);
      const found = lines.filter(({ request }) => request?.path?.includes(`/m${one.conversation.index}x`));
      throw new Error(`${String(fault)}\n${said}\nheard: ${JSON.stringify(heard)}\nrecords: ${JSON.stringify(found)}`, {
        cause: fault,
      });
    }
  }
}

const allRequests = () => finished.flatMap(({ conversation }) => conversation.requests);
const mayEnd = ({ flaws, closes }: WrittenRequest) => closes !== 'no' || flaws.length > 0;
const mustEnd = ({ flaws, closes }: WrittenRequest) =>
  closes === 'must' || flaws.some((flaw) => flaw.closes === 'must');
/** What the parser can't read takes with it what is still under way before it. */
const isCutByLater = ({ requests, isPipelined }: Conversation, answered: number) =>
  requests[answered]?.flaws.some(({ isSilent }) => isSilent) === true ||
  (isPipelined && requests.slice(answered).some(({ flaws }) => flaws.length > 0));
const linesById = () =>
  Map.groupBy(
    lines.filter(({ type }) => type === 'decision'),
    ({ id }) => id,
  );

describe('answers', () => {
  it('lets everything pass that nothing is wrong with, and nothing else', () => {
    everyConversation(({ conversation: { requests }, heard: { responses } }) => {
      for (const [at, { status }] of responses.slice(0, requests.length).entries()) {
        const flaws = requests[at]?.flaws ?? [];
        if (flaws.length === 0) expect(status).toBe(200);
        else expect(flaws.flatMap(({ statuses }) => statuses)).toContain(status);
      }
    });
  });

  it('answers each request in turn, up to one that ends the connection', () => {
    everyConversation(({ conversation, heard: { responses, isWholeHeard, rest } }) => {
      const { requests } = conversation;
      const answered = Math.min(responses.length, requests.length);
      if (!isCutByLater(conversation, answered)) expect(rest).toBe('');
      if (isWholeHeard) return expect(requests.filter(mustEnd)).toEqual([]);
      // Something ended the connection: the last that was answered, or a later one that was not.
      const last = requests[answered - 1];
      const isEnded = last !== undefined && mayEnd(last);
      expect(isEnded || isCutByLater(conversation, answered)).toBe(true);
    });
  });

  it('says nothing more after what may have put the connection out of step', () => {
    everyConversation(({ conversation: { requests }, heard: { responses } }) => {
      const end = requests.findIndex(mustEnd);
      if (end >= 0) expect(responses.length).toBeLessThanOrEqual(end + 1);
    });
  });

  it('never fails: no 500, and no fault in the log', () => {
    everyConversation(({ heard: { responses } }) => {
      for (const { status } of responses) expect([200, 400, 401, 403, 404, 405, 408, 413, 414, 431]).toContain(status);
    });
    expect(faults).toEqual([]);
  });

  it('shows the client neither the credential nor what the upstream says to its own client', () => {
    everyConversation(({ heard: { text, responses } }) => {
      expect(text).not.toContain(upstreamSecret);
      expect(text.toLowerCase()).not.toContain('set-cookie');
      expect(text).not.toContain('x-trailer');
      for (const response of responses) expect(fieldOf(response, 'postern-decision')).toMatch(/^[0-9a-f-]{36}$/);
    });
  });
});

describe('the upstream', () => {
  it('sees only well-formed requests, each framed in one way', () => {
    expect(violations).toEqual([]);
    expect(seen.length).toBeGreaterThan(conversationsCount / 2);
  });

  it('sees each accepted request once, and none that was refused', () => {
    const expected = Map.groupBy(allRequests(), ({ passed }) => passed.path);
    const whole = Map.groupBy(
      seen.filter(({ isComplete }) => isComplete),
      ({ target }) => target.split('?')[0] ?? '',
    );
    for (const [path, requests] of whole) {
      expect(requests, path).toHaveLength(1);
      const [first] = expected.get(path) ?? [];
      expect(first?.flaws, `${path} of seed ${seed}`).toEqual([]);
    }
    const answered = finished.flatMap(({ conversation, heard }) =>
      heard.responses.flatMap(({ status }, at) =>
        status === 200 ? [conversation.requests[at]?.passed.path ?? ''] : [],
      ),
    );
    expect(answered.filter((path) => !whole.has(path))).toEqual([]);
    // Those that the client did not wait for were allowed all the same, and only those.
    const allowed = new Set(
      lines.flatMap(({ decision, request }) => (decision === 'allow' ? [request.path ?? ''] : [])),
    );
    expect([...whole.keys()].filter((path) => !allowed.has(path))).toEqual([]);
    // Heads whose bodies never came are of requests that were allowed too.
    expect(seen.map(({ target }) => target.split('?')[0] ?? '').filter((path) => !allowed.has(path))).toEqual([]);
  });

  it('sees what was judged, byte for byte', () => {
    const sent = new Map(allRequests().map((request) => [request.passed.target, request]));
    const judged = Map.groupBy(
      lines.filter(({ decision }) => decision === 'allow'),
      ({ request }) => request.path ?? '',
    );
    for (const { method, target, fields, body, isComplete } of seen) {
      const request = sent.get(target);
      if (request === undefined) expect.unreachable(`${target} was not sent; seed ${seed}`);
      const { passed } = request;
      expect(method).toBe(request.method);
      if (isComplete) expect(body, target).toBe(passed.body);
      const framing = ['host', 'connection', 'authorization', 'content-length', 'transfer-encoding'];
      const passing = fields.filter(([name]) => !framing.includes(name));
      const order = (pairs: readonly (readonly [string, string])[]) => pairs.map((pair) => pair.join(': ')).toSorted();
      expect(order(passing), `${target} of seed ${seed}`).toEqual(order(passed.fields));
      const [line] = judged.get(passed.path) ?? [];
      expect(line?.request).toMatchObject({
        method,
        path: passed.path,
        query_sha256: passed.query === null ? null : hash('sha256', passed.query, 'base64url'),
      });
    }
  });

  it('gets our credential once, its own host, and none of the agent’s credentials', () => {
    for (const { fields, head } of seen) {
      const valuesOf = (name: string) => fields.filter(([found]) => found === name).map(([, value]) => value);
      expect(valuesOf('authorization')).toEqual([`Bearer ${upstreamSecret}`]);
      expect(valuesOf('host')).toHaveLength(1);
      expect(valuesOf('host')[0]).toMatch(/^127\.0\.0\.1:\d+$/);
      // The beginning of every token and proof.
      expect(head).not.toContain('eyJ');
      expect(head).not.toMatch(/evil|session=|eDp5/);
    }
  });
});

describe('records', () => {
  it('has exactly one decision record for each answer, and it says the same', () => {
    const byId = linesById();
    everyConversation(({ heard: { responses } }) => {
      for (const response of responses) {
        const found = byId.get(fieldOf(response, 'postern-decision') ?? '') ?? [];
        expect(found).toHaveLength(1);
        const [line] = found;
        const reason =
          response.status === 200 || response.body === '' ? line?.reason : (JSON.parse(response.body) as Line).reason;
        expect(line).toMatchObject({ status: response.status, reason });
      }
    });
    for (const [id, found] of byId) expect(found, id).toHaveLength(1);
  });

  it('has one for whatever was sent and not answered, but for what came after the end', () => {
    const answered = finished.reduce((total, { heard }) => total + heard.responses.length, 0);
    const sent = finished.reduce((total, { conversation }) => total + conversation.requests.length + 1, 0);
    expect(linesById().size).toBeGreaterThanOrEqual(answered);
    expect(linesById().size).toBeLessThanOrEqual(sent * 2);
  });
});
