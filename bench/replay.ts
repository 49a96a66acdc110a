/**
 * How fast recorded decisions are judged by other rules, and what `audit.inputs` costs: time and bytes a record.
 *
 *     node bench/replay.ts [--records N] [--rules N]
 *
 * Records are of calls with claims, header fields, a query and a JSON body, made as a sidecar makes them with
 * `audit.inputs: all`, and judged by rules of which each reads some of that.
 */

import { createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { replay } from '../src/cli/replay.ts';
import { createReadAllInputs } from '../src/policy/all-inputs.ts';
import { createContextBuilder, withRates } from '../src/policy/context.ts';
import { createReadInputs } from '../src/policy/inputs.ts';
import { auditLine } from '../src/record/audit-record.ts';
import { accessTokenWith, compiled, exchangeWith } from '../test/policy/exchanges.ts';

const { values: options } = parseArgs({
  options: { records: { type: 'string', default: '100000' }, rules: { type: 'string', default: '30' } },
});
const recordCount = Number(options.records);
const ruleCount = Number(options.rules);

const conditions = [
  'request.method == "GET" && "repo:read" in token.scopes',
  'request.headers["x-team"] == "team-3" && request.url_path.startsWith("/repos/")',
  '"tag" in request.query && request.query["tag"][0] == "internal"',
  'has(token.claims.tier) && token.claims.tier == "free" && rate.calls_per_minute > 50',
  'request.method == "POST" && request.body.amount > 900',
  'subject.human && act.depth > 1',
];
const sources = Array.from({ length: ruleCount }, (_, index) => conditions[index % conditions.length] ?? 'true');

const tokens = Array.from({ length: 100 }, (_, index) =>
  accessTokenWith({
    clientId: `agent-${index}`,
    agent: { id: `agent-${index}`, issuer: 'https://login.example.com' },
    claims: { tier: index % 3 === 0 ? 'free' : 'paid', sub: 'alice', groups: ['ops', 'dev'], region: 'eu' },
  }),
);

function exchangeOf(index: number) {
  const isWrite = index % 4 === 0;
  const exchange = exchangeWith({
    method: isWrite ? 'POST' : 'GET',
    path: `/repos/acme/site-${index % 50}`,
    query: index % 10 === 0 ? 'tag=internal' : 'page=2&tag=public',
    fields: {
      accept: ['application/json'],
      'content-type': ['application/json'],
      'user-agent': ['agent-sdk/1.4 (linux)'],
      traceparent: ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      'x-team': [`team-${index % 7}`],
    },
    ...(isWrite
      ? { heldBody: { isBound: true, json: { amount: index % 1000, to: 'account-7', note: 'as agreed' } } }
      : {}),
    accessToken: tokens[index % tokens.length] ?? accessTokenWith(),
  });
  exchange.rates = new Map([['calls_per_minute', index % 60]]);
  exchange.decision = { effect: 'allow', rule: 'r0', matches: [] };
  return exchange;
}

/** Microseconds and bytes of a record with inputs of this sort. */
function costOf(inputs: 'off' | 'read' | 'all') {
  const rules = sources.map((source) => compiled(source));
  const build = createContextBuilder({ reads: new Set(rules.flatMap(({ reads }) => [...reads])) });
  const read = inputs === 'all' ? createReadAllInputs() : createReadInputs(rules);
  const exchanges = Array.from({ length: 2000 }, (_, index) => exchangeOf(index));
  const contexts = exchanges.map((exchange) => withRates(build(exchange), exchange.rates ?? new Map()));
  let [bytes, fastestUs] = [0, Number.POSITIVE_INFINITY];
  for (let round = 0; round < 10; round++) {
    const startedMs = performance.now();
    bytes = 0;
    for (const [index, exchange] of exchanges.entries()) {
      const context = contexts[index];
      if (inputs !== 'off' && context !== undefined) exchange.inputs = read(context, exchange);
      bytes += Buffer.byteLength(auditLine(exchange));
    }
    fastestUs = Math.min(fastestUs, ((performance.now() - startedMs) * 1000) / exchanges.length);
  }
  return { inputs, us: fastestUs, bytes: bytes / exchanges.length };
}

const say = (text: string) => void process.stdout.write(`${text}\n`);
const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
try {
  for (const { inputs, us, bytes } of (['off', 'read', 'all'] as const).map(costOf)) {
    say(`audit.inputs ${inputs.padEnd(4)}  ${us.toFixed(1)} us and ${bytes.toFixed(0)} bytes a record`);
  }
  const audit = join(folder, 'audit.jsonl');
  const rules = join(folder, 'rules.yaml');
  const readAll = createReadAllInputs();
  const build = createContextBuilder({ reads: new Set() });
  const file = createWriteStream(audit);
  for (let index = 0; index < recordCount; index++) {
    const exchange = exchangeOf(index);
    exchange.inputs = readAll(build(exchange), exchange);
    if (!file.write(`${auditLine(exchange)}\n`)) await new Promise((resolve) => file.once('drain', resolve));
  }
  await finished(file.end());
  const effects = ['allow', 'deny', 'deny', 'throttle', 'deny', 'deny'];
  const written = sources.map((when, index) => ({ id: `r${index}`, when, effect: effects[index % effects.length] }));
  writeFileSync(rules, JSON.stringify({ rules: written }));
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  let text = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  await replay(
    { audit: [audit], rules: [rules], examples: 1, failOnFlip: false, json: true, nowMs: Date.now() },
    { stdout, stderr: nowhere, isTerminal: false },
  );
  const { elapsedMs, replayed, flips } = JSON.parse(text) as { elapsedMs: number; replayed: number; flips: number };
  const peakMiB = process.resourceUsage().maxRSS / 1024;
  say(
    `${replayed} records replayed against ${ruleCount} rules in ${(elapsedMs / 1000).toFixed(1)} s, ${flips} flips; ` +
      `at most ${peakMiB.toFixed(0)} MiB resident`,
  );
} finally {
  rmSync(folder, { recursive: true });
}
