/**
 * How well behavioural drift finds what it is for, with the code that production runs.
 *
 *     npm run bench:drift -- [--data FOLDER] [--synthetic] [--parts] [--json]
 *
 * FOLDER holds schonlau/ (one file a user, labels.txt), agentdojo/ (*.jsonl) and taubench/ (*.json); a part that is not
 * there is left out, and what of it could not be used is said on standard error. With --synthetic, or without any data,
 * suites that are made up are judged too; with --parts, suites by parts of their sessions besides.
 */

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { encodeBaseline } from '../../src/behaviour/drift/codec.ts';
import { createFindDestinations } from '../../src/behaviour/drift/destinations.ts';
import { createFleet } from '../../src/behaviour/drift/fleet.ts';
import { createKeyedHash } from '../../src/behaviour/drift/keyed-hash.ts';
import { airline } from './airline.ts';
import { type Curve, curveOf, median, percent } from './figures.ts';
import { judgeSuite, type SuiteResult } from './hijacks.ts';
import { madeUpSessions } from './made-up.ts';
import {
  foundWithin,
  loadUsers,
  masquerade,
  openDrift,
  run,
  type ScoreTally,
  singleScores,
  train,
  trained,
  type User,
} from './masquerade.ts';
import { type Held, judgeParts } from './parts.ts';
import { honestLatches, poisoning } from './poisoning.ts';
import { type Routing, replicated } from './replicas.ts';
import { loadAirline, loadSessions, type Session } from './runs.ts';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    synthetic: { type: 'boolean', default: false },
    parts: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
if (values.data !== undefined && !existsSync(values.data)) {
  process.stderr.write(`bench:drift: there is no folder ${values.data}\n`);
  process.exit(2);
}
/** Not a number, null in JSON, is a figure for which there was nothing to measure. */
const figures: Record<string, number> = {};

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A figure, what it should reach if that is set, and whether it does. */
function figure(name: string, value: number, digits: number, unitName = '', target?: readonly [number, number]): void {
  figures[name] = value;
  if (values.json) return;
  if (!Number.isFinite(value)) {
    process.stdout.write(`  ${name.padEnd(62)} nothing to measure\n`);
    return;
  }
  const [low, high] = target ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const wanted =
    low === Number.NEGATIVE_INFINITY
      ? `<= ${high}`
      : high === Number.POSITIVE_INFINITY
        ? `>= ${low}`
        : `${low} to ${high}`;
  const verdict = target === undefined ? '' : `   ${value >= low && value <= high ? 'reached' : 'MISSED'} (${wanted})`;
  process.stdout.write(`  ${name.padEnd(62)} ${value.toFixed(digits).padStart(8)}${unitName}${verdict}\n`);
}

function heading(text: string): void {
  if (!values.json) process.stdout.write(`\n${text}\n`);
}

const atMost = (high: number) => [Number.NEGATIVE_INFINITY, high] as const;
const atLeast = (low: number) => [low, Number.POSITIVE_INFINITY] as const;

function curve(name: string, { auc, hitAt, cost, hit, falseAlarms }: Curve, target?: readonly [number, number]): void {
  figure(`${name}: cost, missed + 6 x false alarms`, cost, 1, '', target);
  figure(`${name}: hit at least cost`, hit, 1, '%');
  figure(`${name}: false alarms at least cost`, falseAlarms, 1, '%');
  figure(`${name}: AUC`, auc, 3);
  for (const [index, at] of [1, 5, 10].entries())
    figure(`${name}: hit at ${at}% false alarms`, hitAt[index] ?? 0, 1, '%');
}

/** How often a single score says of benign calls what should hold for one in a hundred. */
function singles(of: string, counts: ScoreTally, calls: number): void {
  for (const name of singleScores) figure(`${of} at ${name} 0.99`, percent(counts[name], calls), 2, '%');
}

function reportMasquerade(users: readonly User[]): void {
  heading(`Masquerade, blocks of 100 requests by sustained evidence: ${users.length} agents`);
  const fleet = createFleet();
  const agents = train(users, fleet);
  const result = masquerade(users, agents, fleet);
  const blocks = curveOf(result.blocks);
  curve('blocks', blocks, atMost(42));
  const cold = createFleet();
  const unvouched = masquerade(users, train(users, cold, { outcome: 'allowed' }), cold);
  figure('blocks: cost where nobody vouches for the first 5,000', curveOf(unvouched.blocks).cost, 1);
  const shifted = createFleet();
  const outOfStep = masquerade(users, train(users, shifted, { ahead: 25 }), shifted);
  figure('blocks: cost with batches half out of step', curveOf(outOfStep.blocks).cost, 1);

  heading('Masquerade, request by request by score');
  const { benign, falseAlarms, byIdentity, byIdentity999, takeOvers } = result;
  figure('false alarms at 0.99', percent(falseAlarms.at99, benign), 2, '%', [0.3, 1.5]);
  figure('false alarms at 0.99, median identity', median(byIdentity), 2, '%');
  figure('false alarms at 0.99, worst identity', Math.max(...byIdentity), 2, '%');
  figure('false alarms at 0.999', percent(falseAlarms.at999, benign), 3, '%');
  figure('false alarms at 0.999, median identity', median(byIdentity999), 3, '%');
  figure('false alarms at 0.999, worst identity', Math.max(...byIdentity999), 3, '%');
  singles('benign requests', result.at99By, benign);
  figure('alarm episodes per 10,000 benign requests', (10_000 * falseAlarms.episodes) / benign, 1);
  figure('take-overs', takeOvers.length, 0);
  figure('take-overs found within 10 calls', foundWithin(takeOvers, 10), 0, '%');
  figure('take-overs found within 25 calls', foundWithin(takeOvers, 25), 0, '%', atLeast(60));
  figure('take-overs ever found', foundWithin(takeOvers, Number.MAX_SAFE_INTEGER), 0, '%');

  heading('Cold start: blocks after less history');
  for (const history of [500, 1000, 2000]) {
    const peers = createFleet();
    const grown = train(users, peers);
    const young = train(users, peers, { history, learnsFleet: false });
    // The fleet knows all 5,000 of each user's own requests: they are taken off for the young agent too.
    for (const [at, { view }] of young.entries()) view.contributed = grown[at]?.view.contributed ?? 0;
    const late = curveOf(masquerade(users, young, peers).blocks);
    figure(`history of ${history}: AUC`, late.auc, 3);
    figure(`history of ${history}: hit at 5% false alarms`, late.hitAt[1] ?? 0, 1, '%');
  }

  heading('Two replicas that merge every 64 requests');
  const lost = (routing: Routing) => curveOf(replicated(users, routing)).cost - blocks.cost;
  figure('sessions stay on their replica: cost lost', lost('pinned'), 1, '', atMost(3));
  figure('every request to either, which tells the other: cost lost', lost('told'), 1, '', atMost(3));
  figure('every request to either, which does not: cost lost', lost('either'), 1);
}

function reportPoisoning(users: readonly User[]): void {
  heading('Poisoning: an intruder mixed half and half into honest agents');
  for (const isRamped of [false, true]) {
    const name = isRamped ? 'ramped over 5,000 requests' : 'at once';
    const result = poisoning(users, createFleet(), isRamped);
    figure(`${name}: intruder's calls to the third alarm (median)`, result.toThirdAlarm, 0);
    figure(`${name}: victims without a third alarm, of ${result.victims}`, result.never, 0);
    figure(`${name}: intruder's calls to the latch (median)`, result.toLatch, 0);
    figure(`${name}: victims never latched`, result.neverLatched, 0);
    figure(`${name}: still flagged at the end, if not latched`, result.flaggedAtTheEnd, 1, '%');
  }
  figure('honest agents latched, per 10,000 requests', honestLatches(users, createFleet()), 1);
}

function reportSpeed(users: readonly User[]): void {
  heading('Cost');
  const fleet = createFleet();
  const agents = train(users, fleet);
  const drift = openDrift(fleet, { learnsFleet: false });
  const rounds: number[] = [];
  for (let round = 0; round < 5; round++) {
    let requests = 0;
    const began = process.cpuUsage();
    for (const [at, user] of users.entries()) {
      const agent = agents[at];
      if (agent === undefined) continue;
      for (let index = trained; index < user.commands.length; index += 3) {
        run(drift, agent, user.commands[index] ?? '', trained + requests++);
      }
    }
    rounds.push(cpuMicros(began) / requests);
  }
  figure('microseconds a request, judged and learned', median(rounds), 2, '', atMost(5));
  figure('microseconds to find the destinations of a body', findingMicros(), 2);
  const packed = agents.map((agent) => encodeBaseline(agent.view).length);
  figure('bytes an agent, packed, largest', Math.max(...packed), 0, '', atMost(16_384));
  const held = agents.map((agent) => bytesHeld({ ...agent, quarantine: null, delta: null }));
  figure('bytes an agent, in memory, without object headers', Math.max(...held), 0, '', atMost(16_384));
}

/** A payment of six fields, parsed already, as a route that inspects bodies hands it on. */
function findingMicros(): number {
  const find = createFindDestinations({ hash: createKeyedHash(Buffer.alloc(32), 'destination') });
  const rounds: number[] = [];
  for (let round = 0; round < 5; round++) {
    const began = process.cpuUsage();
    for (let index = 0; index < 10_000; index++) {
      const reference = `invoice ${index}`;
      const recipient = `GB29NWBK601613${10_000_000 + index}`;
      const copy = [`user${index}@example.com`];
      find({ body: { recipient, amount: index, subject: reference, date: '2026-01-31', copy, note: 'thanks' } });
    }
    rounds.push(cpuMicros(began) / 10_000);
  }
  return median(rounds);
}

/** Processor time: what else the machine does is no part of it. */
function cpuMicros(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began);
  return user + system;
}

function bytesHeld(value: unknown): number {
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (typeof value !== 'object' || value === null) return 8;
  return Object.values(value).reduce((sum: number, part) => sum + bytesHeld(part), 0);
}

function reportHijacks(sessions: readonly Session[]): void {
  for (const suite of new Set(sessions.map((session) => session.suite))) {
    const mine = sessions.filter((session) => session.suite === suite);
    const files = new Set(mine.map(({ file }) => file)).size;
    if (files === 1) say(`${suite}: one file, so that tenths of it are left out in turn`);
    for (const isTaskNew of [false, true]) reportSuite(suite, judgeSuite(mine, isTaskNew), isTaskNew);
    if (values.parts) for (const isTaskNew of [false, true]) reportParts(suite, judgeParts(mine, isTaskNew), isTaskNew);
  }
}

function reportParts(suite: string, { draws, aucs, tainted }: Held, isTaskNew: boolean): void {
  heading(`Parts of ${suite}: ${draws} draws, task ${isTaskNew ? 'never seen' : 'seen in other runs'}`);
  const mean = (numbers: readonly number[]) => numbers.reduce((sum, number) => sum + number, 0) / draws;
  const name = `${suite} ${isTaskNew ? 'new' : 'seen'} parts`;
  figure(`${name}: destination AUC, mean`, mean(aucs), 3);
  figure(`${name}: destination AUC, worst`, Math.min(...aucs), 3, '', atLeast(0.9));
  figure(`${name}: tainted found at 1% false alarms, mean`, mean(tainted), 0, '%');
  figure(`${name}: tainted found at 1% false alarms, worst`, Math.min(...tainted), 0, '%');
}

function reportSuite(suite: string, result: SuiteResult, isTaskNew: boolean): void {
  heading(
    `Hijacked agents, ${suite}: ${result.hijacked} hijacked and ${result.benign} benign sessions, ` +
      `task ${isTaskNew ? 'never seen' : 'seen in other runs'}`,
  );
  const prefix = `${suite} ${isTaskNew ? 'new' : 'seen'}`;
  for (const feature of ['destination', 'taintedDestination', 'sequence', 'score'] as const) {
    const { auc, hitAt } = curveOf(result.rows[feature]);
    const name = `${prefix} ${feature}`;
    figure(`${name}: AUC`, auc, 3, '', feature === 'destination' ? atLeast(0.9) : undefined);
    const target = feature === 'taintedDestination' && !isTaskNew ? atLeast(80) : undefined;
    figure(`${name}: found at 1% false alarms`, hitAt[0] ?? 0, 0, '%', target);
    figure(`${name}: found at 5% false alarms`, hitAt[1] ?? 0, 0, '%');
  }
  figure(`${prefix} tainted: hijacked sessions`, result.taintedHits, 0, '%');
  figure(`${prefix} tainted: benign sessions`, result.taintedFalseAlarms, 1, '%');
  figure(`${prefix} challenged by the shipped rules: hijacked sessions`, result.challengedHits, 0, '%');
  figure(`${prefix} challenged by the shipped rules: benign sessions`, result.challengedFalseAlarms, 1, '%');
  figure(`${prefix} benign calls at 0.99, agent frozen`, result.at99, 2, '%');
}

function reportAirline(sessions: readonly Session[]): void {
  const orders = 5;
  const result = airline(sessions, orders);
  heading(`Benign airline agent: ${sessions.length} sessions in ${orders} orders`);
  if (result.calls === 0) say('taubench: too few calls for any to be judged');
  figure('calls judged, of one order', result.calls / orders, 0);
  figure('calls at 0.99', percent(result.at99, result.calls), 2, '%');
  singles('calls', result.at99By, result.calls);
  figure('calls with a tainted destination above 0.9', percent(result.tainted, result.calls), 2, '%');
}

if (values.data !== undefined) {
  const users = loadUsers(values.data, say);
  const sessions = loadSessions(values.data, say);
  const airlineSessions = loadAirline(values.data, say);
  if (users.length > 0) {
    reportMasquerade(users);
    reportPoisoning(users);
    reportSpeed(users);
  }
  reportHijacks(sessions);
  if (airlineSessions.length > 0) reportAirline(airlineSessions);
  if (users.length + sessions.length + airlineSessions.length === 0) say(`${values.data}: nothing there to judge`);
}
if (values.synthetic || values.data === undefined) reportHijacks(madeUpSessions());
if (values.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
