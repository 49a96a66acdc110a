/** `postern explain`: why a decision came out as it did, and what would have turned it round. */

import { isDeny } from '../decision.ts';
import { ConfigurationFault, Fault } from '../errors.ts';
import { createDescribe } from '../policy/described.ts';
import {
  type ExplainableRecord,
  type Explanation,
  explainDecision,
  explainRecord,
  isExplainableRecord,
  type RecordExplanation,
} from '../policy/explain-decision.ts';
import { createGivenSchema, type Given } from '../policy/tests/test-schema.ts';
import { readYaml, vetYaml } from '../yaml-source.ts';
import { type AdminAccess, askedText, callAdmin, problemText } from './admin-client.ts';
import { readAuditLines } from './audit-lines.ts';
import {
  type ExitCode,
  exitCodes,
  type Io,
  printable,
  printableLine,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';
import { loadPolicy, type PolicyOptions } from './policy.ts';
import { changesText, writeRule } from './rule-text.ts';

export type ExplainOptions = AdminAccess &
  PolicyOptions & {
    /** Decision id; none where a request is described. */
    readonly decision?: string | undefined;
    /** Audit files to find it in, in place of a running sidecar. */
    readonly audit?: readonly string[] | undefined;
    /** YAML file with what a case of a rule test gives. */
    readonly given?: string | undefined;
    readonly json: boolean;
  };

type Explained = Partial<RecordExplanation> & {
  readonly explanation?: Explanation | null;
  readonly refused?: { readonly reason: string; readonly cause: string | null };
};

/** Exit code 1 where there is no such decision. */
export async function explain(options: ExplainOptions, io: Io): Promise<ExitCode> {
  try {
    const explained = await explainedBy(options);
    if (explained === null) {
      if (options.json) writeJson(io.stdout, { error: 'no_such_decision' });
      else writeLine(io.stderr, printable(unknownText(options)));
      return exitCodes.no;
    }
    if (options.json) writeJson(io.stdout, explained);
    else writeText(io, explained);
    return exitCodes.done;
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}

function unknownText(options: ExplainOptions): string {
  if (options.audit !== undefined) return `there is no such decision in ${options.audit.join(', ')}`;
  return `there is no such decision among the latest of the sidecar ${askedText(options)}; older ones with --audit FILE`;
}

async function explainedBy(options: ExplainOptions): Promise<Explained | null> {
  const { decision, audit, given } = options;
  if ((decision === undefined) === (given === undefined)) {
    throw new Fault('usage', 'name either the id of a decision, or with --given a file that describes a request');
  }
  if (given !== undefined) return explainGiven(given, options);
  if (audit === undefined) return askSidecar(options, decision ?? '');
  const record = await findRecord(audit, decision ?? '');
  if (record === null) return null;
  return explainRecord(await loadPolicy(options, Object.keys(record.rates ?? {})), record);
}

async function askSidecar(access: AdminAccess, decision: string): Promise<Explained | null> {
  const answer = await callAdmin(access, 'POST', '/v1/explain', { decision });
  if (answer.status === 404) return null;
  if (answer.status !== 200) throw new Fault('admin_answer', `${problemText(answer)} (${askedText(access)})`);
  return answer.body as Explained;
}

async function findRecord(files: readonly string[], id: string): Promise<ExplainableRecord | null> {
  for (const file of files) {
    for await (const line of readAuditLines(file)) {
      if (line?.includes(id) !== true) continue;
      const value = parse(line);
      if (isExplainableRecord(value) && value.id === id) return value;
    }
  }
  return null;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function explainGiven(file: string, options: ExplainOptions): Promise<Explained> {
  const source = await readYaml(file);
  if (!('value' in source)) throw new ConfigurationFault(source);
  // Without a configuration the meters are those that are given a count.
  const rate = (source.value as { readonly rate?: unknown } | null)?.rate;
  const policy = await loadPolicy(options, typeof rate === 'object' && rate !== null ? Object.keys(rate) : []);
  const vetted = vetYaml(source, createGivenSchema(policy.meters));
  if (!('value' in vetted)) throw new ConfigurationFault(vetted);
  const routes = policy.reading.declared?.routes ?? null;
  const context = createDescribe({ ...policy, ...policy.reading, routes })(vetted.value as Given);
  if (!isDeny(context)) return { explanation: await explainDecision(policy, context) };
  return { refused: { reason: context.reason, cause: context.cause ?? null } };
}

function writeText(io: Io, { recorded, isSamePolicy, missing = [], explanation, refused }: Explained): void {
  const say = (text = '') => writeLine(io.stdout, printableLine(text));
  if (recorded !== undefined) {
    const { id, time, decision, reason, rule, cause, end } = recorded;
    say(`${id}  ${time}`);
    say(`recorded   ${decision}${reason === null ? '' : ` (${reason})`}${rule === null ? '' : ` by ${rule}`}`);
    if (end !== null && end !== 'complete' && end !== 'refused') say(`ended      ${end}`);
    if (cause !== null) say(`because    ${cause}`);
  }
  if (refused !== undefined) {
    say(`refused    ${refused.reason}, before any rule is asked${refused.cause === null ? '' : `: ${refused.cause}`}`);
    return;
  }
  if (explanation === null || explanation === undefined) {
    say('No rule was asked about this call, or audit.inputs is off: the record does not hold what rules read.');
    return;
  }
  if (isSamePolicy === false) say('These are not the rules that decided then.');
  if (missing.length > 0) say(`The record does not hold, and the rules read: ${missing.join(', ')}.`);
  writeExplanation(say, explanation);
}

function writeExplanation(say: (text?: string) => void, explanation: Explanation): void {
  const { effect, reason, rule, cause, would, rules, toFlip } = explanation;
  say(`decided    ${effect}${reason === null ? '' : ` (${reason})`}${rule === null ? '' : ` by ${rule}`}`);
  if (cause !== null) say(`because    ${cause}`);
  if (would !== null) say(`would be   ${would.effect} by ${would.rule ?? 'none'} if every shadow rule were enforced`);
  say();
  for (const told of rules) writeRule(say, told);
  if (toFlip.rules.length === 0) return;
  say();
  say(
    toFlip.needs === 'all'
      ? 'It would be otherwise if all of this were so:'
      : 'It would be otherwise if one of this were so:',
  );
  for (const flip of toFlip.rules) {
    say(`    ${flip.rule} ${flip.mustMatch ? 'matched' : 'did not match'}: ${changesText(flip.changes)}`);
  }
}
