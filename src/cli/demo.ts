/** `postern demo`: the whole thing on this machine, as a narrated tour or to be played with. */

import { type DemoParts, freePorts, startDemoParts, usualPorts } from '../demo/parts.ts';
import { usualSessionFolder } from '../demo/session.ts';
import { runTour, type StepResult, type TourResult } from '../demo/tour.ts';
import type { AuditLine } from '../demo/tour-evidence.ts';
import {
  createPaint,
  type ExitCode,
  exitCodes,
  type Io,
  printable,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';

export type DemoOptions = {
  /** Keep everything running to be tried by hand, instead of taking the tour. */
  readonly serve: boolean;
  readonly json: boolean;
  /** Settles when the process is asked to end. */
  readonly stopped: Promise<unknown>;
  /** Where `postern call` looks; the place where it looks by default if absent. */
  readonly sessionFolder?: string | undefined;
};

/** Exit codes: 0 as told (or served and stopped), 1 a step was not as told or the tour was cut short, 3 no start. */
export async function demo(options: DemoOptions, io: Io): Promise<ExitCode> {
  try {
    return options.serve ? await serve(options, io) : await tour(options, io);
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}

async function serve(options: DemoOptions, io: Io): Promise<ExitCode> {
  const parts = await startDemoParts({ ports: usualPorts, sessionFolder: options.sessionFolder ?? usualSessionFolder });
  if (options.json) writeJson(io.stdout, addresses(parts));
  else describe(io, parts);
  await options.stopped;
  if (!options.json) writeLine(io.stderr, 'postern: finishing live requests, then stopping');
  await parts.close();
  return exitCodes.done;
}

async function tour(options: DemoOptions, io: Io): Promise<ExitCode> {
  const startedMs = performance.now();
  const parts = await startDemoParts({ ports: freePorts, sessionFolder: null });
  try {
    if (!options.json) introduce(io, parts);
    const taken = runTour(parts, (step) => {
      if (!options.json) narrate(io, step);
    });
    const result = await Promise.race([taken, options.stopped.then(() => null)]);
    if (result === null) {
      // Its calls fail when the parts go; nobody waits for them any more.
      taken.catch(() => {});
      return exitCodes.no;
    }
    const elapsedMs = Math.round(performance.now() - startedMs);
    if (options.json) writeJson(io.stdout, toJson(result, elapsedMs));
    else conclude(io, result, elapsedMs);
    return result.isAsTold ? exitCodes.done : exitCodes.no;
  } finally {
    await parts.close();
  }
}

function addresses({ origin, adminOrigin, issuer, api, configFile, rulesFolder, auditFile }: DemoParts) {
  const files = { configuration: configFile, rules: rulesFolder, audit: auditFile };
  return { origin, admin: adminOrigin, issuer, api: api.origin, ...files };
}

function describe(io: Io, parts: DemoParts): void {
  const paint = createPaint(io);
  const say = (text = '') => writeLine(io.stdout, text);
  say(paint.strong('Postern is running, with everything around it, on this machine only.'));
  say();
  say(`  agents call       ${paint.strong(parts.origin)}`);
  say(`  admin, metrics    ${parts.adminOrigin}`);
  say(`  issuer of tokens  ${parts.issuer}`);
  say(`  sample API        ${parts.api.origin}  ${paint.faint('answers nobody without its secret key')}`);
  say(`  configuration     ${parts.configFile}`);
  say(`  rules             ${parts.rulesFolder}  ${paint.faint('a change applies at once')}`);
  say(`  audit log         ${parts.auditFile}`);
  say(`  store             memory  ${paint.faint('forgotten, like all files, when this stops')}`);
  say();
  say('Try, in another terminal:');
  say();
  for (const [what, command] of suggestions(parts)) {
    say(paint.faint(`  # ${what}`));
    say(`  ${command}`);
  }
  say();
  say('Ctrl-C stops it.');
}

function suggestions({ origin, adminOrigin, auditFile }: DemoParts): readonly (readonly [string, string])[] {
  const postern = 'npm run -s postern --';
  const admin = adminOrigin === 'http://127.0.0.1:9901' ? '' : ` --admin ${adminOrigin}`;
  const site = `${origin}/repos/acme/site`;
  return [
    ['an agent in one command: gets a token, makes the proof, shows the decision', `${postern} call ${site}`],
    ['a write', `${postern} call ${site}/issues --data '{"title":"Hello"}' --reason "first try"`],
    [
      'the same without the scope for it',
      `${postern} call ${site}/issues --data '{"title":"Hello"}' --scope repo:read`,
    ],
    ['a path that no rule allows', `${postern} call ${origin}/admin/keys`],
    ['no token at all', `curl -i ${site}`],
    ['an answer with the key of the API in it', `${postern} call ${site}/debug`],
    ['why a decision came out as it did: ID is its decision', `${postern} explain ID${admin}`],
    ['who answers for which agent, and what was seen of it', `${postern} agents list${admin}`],
    ['a stream; revoke the agent meanwhile', `${postern} call ${site}/events`],
    ['revoke the agent, and call again', `${postern} revoke agent agent-7 --reason "just trying"${admin}`],
    ['what is revoked; lift an entry with --lift ID', `${postern} revocations${admin}`],
    ['what the SRE sees', `curl -s ${adminOrigin}/metrics | grep postern_requests_total`],
    ['what the security team sees', `tail -n 3 ${auditFile}`],
  ];
}

function introduce(io: Io, parts: DemoParts): void {
  const paint = createPaint(io);
  writeLine(io.stdout, paint.strong('A tour of Postern: real tokens, real proofs, a real API behind it.'));
  writeLine(
    io.stdout,
    paint.faint(`agents call ${parts.origin}; the sample API is ${parts.api.origin}; tokens come from ${parts.issuer}`),
  );
  writeLine(io.stdout, paint.faint(`audit log, until the tour ends: ${parts.auditFile}`));
}

function narrate(io: Io, { number, title, expected, seen, isAsTold }: StepResult): void {
  const paint = createPaint(io);
  writeLine(io.stdout);
  writeLine(io.stdout, paint.strong(`${String(number).padStart(2)}  ${title}`));
  writeLine(io.stdout, `    expected  ${expected}`);
  writeLine(io.stdout, `    seen      ${printable(seen)}`);
  writeLine(io.stdout, `    ${isAsTold ? paint.good('as told') : paint.bad('NOT AS TOLD')}`);
}

function conclude(io: Io, { isAsTold, steps, audit }: TourResult, elapsedMs: number): void {
  const paint = createPaint(io);
  writeLine(io.stdout);
  writeLine(io.stdout, paint.strong('From the audit log, one decision of each step, and the last of them in full:'));
  writeLine(io.stdout);
  for (const line of audit) writeLine(io.stdout, `    ${printable(summaryOf(line))}`);
  writeLine(io.stdout);
  writeLine(io.stdout, paint.faint(`    ${printable(JSON.stringify(audit.at(-1) ?? null))}`));
  writeLine(io.stdout);
  const wrong = steps.filter((step) => !step.isAsTold).length;
  const verdict = isAsTold
    ? paint.good(`All ${steps.length} steps were as told`)
    : paint.bad(`${wrong} of ${steps.length} steps were not as told`);
  writeLine(io.stdout, `${verdict}, in ${(elapsedMs / 1000).toFixed(1)} s. Everything it started goes away now.`);
}

function summaryOf({ id, decision, reason, rule, agent }: AuditLine): string {
  const agentId = typeof agent === 'object' && agent !== null && 'id' in agent ? agent.id : null;
  const columns = [decision, reason, agentId, rule].map((value) => (typeof value === 'string' ? value : '-'));
  const [effect = '', why = '', who = '', which = ''] = columns;
  return `${effect.padEnd(5)}  ${why.padEnd(23)}  ${who.padEnd(14)}  ${which.padEnd(27)}  ${id}`;
}

function toJson({ isAsTold, steps, audit }: TourResult, elapsedMs: number): object {
  return {
    ok: isAsTold,
    elapsed_ms: elapsedMs,
    steps: steps.map((step) => ({
      number: step.number,
      title: step.title,
      expected: step.expected,
      seen: step.seen,
      ok: step.isAsTold,
      decisions: step.decisions,
    })),
    audit,
  };
}
