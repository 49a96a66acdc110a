#!/usr/bin/env node
/** The command line. The only reader of process.env. */

import { styleText } from 'node:util';
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { usualAdmin } from './cli/admin-client.ts';
import { type AgentAction, agentActions, agents } from './cli/agents.ts';
import { type BaselineVerb, baselineVerbs } from './cli/baseline.ts';
import { type CallOptions, call } from './cli/call.ts';
import { check } from './cli/check.ts';
import { demo } from './cli/demo.ts';
import { type ExplainOptions, explain } from './cli/explain.ts';
import { type ExitCode, exitCodes, type Io } from './cli/output.ts';
import { replay } from './cli/replay.ts';
import { type RevocationKind, revocationKinds, revocations, revoke } from './cli/revoke.ts';
import { run } from './cli/run.ts';
import { schema } from './cli/schema.ts';
import { type SchemaName, schemaNames } from './cli/schema-documents.ts';
import { shadowReport } from './cli/shadow.ts';
import { test } from './cli/test.ts';
import { packageVersion } from './package-version.ts';

// Whoever reads the output may stop reading, as head does. That is no fault, and the work goes on to its own end.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

const io: Io = { stdout: process.stdout, stderr: process.stderr, isTerminal: process.stdout.isTTY === true };

const program = new Command('postern')
  .description('A sidecar reverse proxy that decides, call by call, whether an AI agent may use an API')
  .version(packageVersion)
  .exitOverride()
  // Without a terminal commander takes the colours out again.
  .configureHelp({ styleTitle: (title) => styleText('bold', title, { validateStream: false }) })
  .showHelpAfterError('(postern help shows what there is)')
  .addHelpText(
    'after',
    `
Examples:
  postern demo                                    take the tour; needs nothing else on this machine
  postern check --config postern.yaml             is it good, and what is wrong with it?
  postern run --config postern.yaml
  postern revoke agent agent-7 --reason "laptop stolen"
  postern call https://api.example.com/things     be an agent, and see the decision

Exit codes: 0 done, 1 the answer is no, 2 wrong usage or configuration, 3 a dependency failed`,
  );

const configOption = () => new Option('-c, --config <file>', 'configuration file').default('postern.yaml');
const jsonOption = (what = 'one JSON value instead of text') => new Option('--json', what).default(false, 'text');
const adminOption = () =>
  new Option('--admin <url>', 'admin API of the sidecar').env('POSTERN_ADMIN').default(usualAdmin);
const tokenOption = () =>
  new Option('--token-file <file>', 'file with the admin token').env('POSTERN_ADMIN_TOKEN_FILE');
const stopping = `The first SIGTERM or SIGINT lets live requests finish: readiness fails at once, no requests are taken after
shutdown.delay, and what is left at shutdown.deadline is cut. A second one ends it at once, with exit code 130.
Changed configuration and rules take effect by themselves (reload.watch); SIGHUP makes it read all files again, and open
audit files again that were moved away.`;
const revokeHelp = `
What the kinds mean, and where to read the value in an audit record:
  agent    whoever acts: .agent.id, from every issuer
  subject  on whose behalf: .subject.id; with --issuer, of that issuer only
  owner    every agent that this human answers for: .agent.owner
  jkt      one key, with every token bound to it: .pop.jkt
  jti      one token: .token.jti, with --issuer .token.iss
  issuer   everything that it issued before the time of --issued-before: .token.iss
  delegation  what a token was issued under: its delegation_id, mission.id, txn or sid

Examples:
  postern revoke agent agent-7 --reason "laptop stolen"
  postern revoke jti 0f3c9a --issuer https://login.example.com --reason "leaked" --until 2027-01-31T12:00:00Z

It holds from the next call on, on every sidecar that shares the store. Lift it with: postern revocations --lift ID`;
const agentsHelp = `Examples:
  postern agents list --owner alice@example.com
  postern agents show agent-7
  postern agents offboard agent-7 --reason "project ended"
  postern agents offboard --owner alice@example.com --reason "left the company"
  postern agents baseline agent-7
  postern agents baseline agent-7 explain
  postern agents baseline agent-7 confirm-safe --reason "month-end run, checked with finance"
  postern agents baseline agent-7 rollback --before 2026-11-20T00:00:00Z

Offboarding revokes the agent, with it every chain that it is part of, and every key that was seen bound to it.`;
const finish = (code: ExitCode) => {
  process.exitCode = code;
};

program
  .command('run')
  .description('run the sidecar until SIGTERM or SIGINT')
  .addOption(configOption())
  .addOption(jsonOption('where it listens, as JSON; on standard error, since audit records may own standard output'))
  .addHelpText('after', `\n${stopping}`)
  .action(async (options) => finish(await run({ ...options, env: process.env, stopped: stopSignal(), onHangup }, io)));

program
  .command('check')
  .description('verify configuration and rules without starting')
  .addOption(configOption())
  .option('--strict', 'end with 1 for warnings, too')
  .option('--verbose', 'show what each rule costs at worst, in units of about 50 ns')
  .addOption(new Option('--format <format>', 'how to say it').choices(['text', 'github']).default('text'))
  .addOption(jsonOption())
  .action(async (options) => finish(await check({ ...options, env: process.env }, io)));

program
  .command('schema')
  .description('print the JSON Schema of a file that you write, for editors')
  .addArgument(new Argument('[file]', 'which file').choices(schemaNames).default('config'))
  .addOption(jsonOption('as it is in any case'))
  .action((name: SchemaName) => finish(schema(name, io)));

program
  .command('test')
  .description('run the tests of rules, *.test.yaml')
  .argument('[paths...]', 'test files and folders; without any, the rules of the configuration')
  .option('-c, --config <file>', 'configuration whose routes and meters there are; postern.yaml where no path is given')
  .option('--filter <text>', 'only cases with this in their name')
  .option('--min-coverage <percent>', 'end with 1 where less of the rules is covered', percentOf)
  .option('--junit <file>', 'write the outcome there too, as JUnit XML')
  .option('--watch', 'run again at every change, until SIGINT', false)
  .addOption(jsonOption())
  .action(async (paths: string[], options) =>
    finish(await test({ ...options, paths, stopped: options.watch ? stopSignal() : Promise.resolve() }, io)),
  );

program
  .command('shadow')
  .description('say what shadow rules would have changed')
  .addArgument(new Argument('<report>', 'what to say of them: report').choices(['report']))
  .requiredOption('--audit <file>', 'audit file; may be repeated', collect)
  .option('--since <time>', 'only decisions since then: a duration such as 24h, or an RFC 3339 time')
  .addOption(jsonOption())
  .action(async (_what: string, options) => finish(await shadowReport({ ...options, nowMs: Date.now() }, io)));

program
  .command('explain')
  .description('say why a decision came out as it did, and what would turn it round')
  .argument('[decision]', 'its id; one of the latest of a running sidecar, unless --audit is given')
  .option('--audit <file>', 'audit file that holds its record; may be repeated', collect)
  .option('--given <file>', 'YAML file with what a case of a rule test gives, in place of a decision')
  .option('-c, --config <file>', 'configuration whose rules to use, with --audit or --given')
  .option('--rules <path>', 'rule file or folder to use in place of those; may be repeated', collect)
  .addOption(adminOption())
  .addOption(tokenOption())
  .addOption(jsonOption())
  .action(async (decision: string | undefined, options) =>
    finish(await explain({ ...options, decision } satisfies ExplainOptions, io)),
  );

program
  .command('replay')
  .description('say what other rules would have decided about recorded calls')
  .requiredOption('--audit <file>', 'audit file; may be repeated', collect)
  .option('--rules <path>', 'rule file or folder to judge them by; may be repeated', collect)
  .option('-c, --config <file>', 'configuration whose meters and routes there are, and whose rules without --rules')
  .option('--since <time>', 'only decisions since then: a duration such as 24h, or an RFC 3339 time')
  .option('--until <time>', 'only decisions before then')
  .option('--route <name>', 'only decisions on this route; may be repeated', collect)
  .option('--agent <id>', 'only decisions about this agent; may be repeated', collect)
  .option('--examples <count>', 'how many to show of each kind of change', countOf, 5)
  .option('--fail-on-flip', 'end with 1 where a call would get another answer, or where that cannot be told', false)
  .addOption(jsonOption())
  .action(async (options) => finish(await replay({ ...options, nowMs: Date.now() }, io)));

program
  .command('revoke')
  .description('refuse an agent, subject, key or token from its next call on')
  .argument('<kind>', `what to revoke: ${revocationKinds.join(', ')}`, kindOf)
  .argument('<value>', 'its identifier, as the audit log shows it')
  .requiredOption('--reason <text>', 'why; kept with the entry')
  .option('--issuer <url>', 'issuer of the token (needed for jti) or of the subject')
  .option('--issued-before <time>', 'only tokens issued before it (RFC 3339; needed for issuer)')
  .option(
    '--until <time>',
    'forget the entry then (RFC 3339); without it, once no token is left that it hits, or when lifted',
  )
  .option('--dry-run', 'say how many recent agents and live tokens it would hit, and revoke nothing', false)
  .addOption(adminOption())
  .addOption(tokenOption())
  .addOption(jsonOption())
  .addHelpText('after', revokeHelp)
  .action(async (kind: RevocationKind, value: string, options) =>
    finish(await revoke({ ...options, kind, value }, io)),
  );

program
  .command('revocations')
  .description('list what is revoked, or lift an entry')
  .option('--lift <id>', 'lift the entry with this id')
  .option('--limit <count>', 'how many to list, newest first', countOf, 100)
  .addOption(adminOption())
  .addOption(tokenOption())
  .addOption(jsonOption())
  .action(async (options) => finish(await revocations(options, io)));

program
  .command('agents')
  .description('list agents, show one, offboard one or all of a human, or see to how one behaves')
  .argument('<action>', `what to do: ${agentActions.join(', ')}`, agentActionOf)
  .argument('[id]', 'of the agent')
  .addArgument(new Argument('[verb]', 'with baseline, what to do with it; show where absent').choices(baselineVerbs))
  .option('--owner <human>', 'with list, only agents of this human; with offboard, the human and all their agents')
  .option('--reason <text>', 'why; needed to offboard, and kept with the entries')
  .option('--before <time>', 'with baseline rollback, the newest snapshot from before then (RFC 3339)')
  .option('--file <file>', 'with baseline export or import, where to or from')
  .addOption(adminOption())
  .addOption(tokenOption())
  .addOption(jsonOption())
  .addHelpText('after', `\n${agentsHelp}`)
  .action(async (action: AgentAction, id: string | undefined, verb: BaselineVerb | undefined, options) =>
    finish(await agents({ ...options, action, id, verb }, io)),
  );

program
  .command('call')
  .description('be an agent: get a token, make a proof, call the URL, and show the decision')
  .argument('<url>', 'what to call, as agents call it')
  .option('-X, --method <method>', 'GET, or POST with --data')
  .option('-d, --data <body>', 'the body, or @FILE')
  .option('-H, --header <field>', 'a further field, as name: value; may be repeated', collect)
  .option('--issuer <url>', 'authorization server; that of the running demo by default')
  .option('--client-id <id>', 'client of the authorization server')
  .option('--client-secret-file <file>', 'file with its secret; or set POSTERN_CLIENT_SECRET')
  .option('--scope <scopes>', 'space-separated; those of the running demo, else what the issuer gives unasked')
  .option('--audience <uri>', 'audience of the token; the origin of the URL by default')
  .option('--reason <text>', 'why the call is made; sent as agent-reason')
  .option('--max-time <duration>', 'how long to read the body; 30s by default, an event stream to its end or Ctrl-C')
  .addOption(jsonOption())
  .action(async (url: string, { header, ...options }) => {
    const clientSecret = process.env.POSTERN_CLIENT_SECRET;
    finish(await call({ ...options, url, headers: header ?? [], clientSecret } satisfies CallOptions, io));
  });

program
  .command('demo')
  .description('take the tour of a complete demonstration on embedded parts, or serve it')
  .option('--serve', 'keep everything running to be tried by hand', false)
  .addOption(jsonOption())
  .action(async (options) => finish(await demo({ ...options, stopped: stopSignal() }, io)));

try {
  await program.parseAsync();
} catch (fault) {
  if (fault instanceof CommanderError) process.exitCode = fault.exitCode === 0 ? exitCodes.done : exitCodes.usage;
  else {
    // Ours to mend: the stack says where. 1 would be read as an answer.
    io.stderr.write(`postern: internal error; please report it\n${fault instanceof Error ? fault.stack : fault}\n`);
    process.exitCode = exitCodes.dependency;
  }
}

function kindOf(text: string): RevocationKind {
  const kind = revocationKinds.find((candidate) => candidate === text);
  if (kind === undefined) throw new InvalidArgumentError(`it is one of ${revocationKinds.join(', ')}`);
  return kind;
}

function agentActionOf(text: string): AgentAction {
  const action = agentActions.find((candidate) => candidate === text);
  if (action === undefined) throw new InvalidArgumentError(`it is one of ${agentActions.join(', ')}`);
  return action;
}

function percentOf(text: string): number {
  const percent = Number(text);
  if (!/^\d{1,3}(\.\d+)?$/.test(text) || percent > 100) throw new InvalidArgumentError('it is a number from 0 to 100');
  return percent;
}

function countOf(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('it is a whole number from 1');
  return count;
}

function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

function onHangup(reread: () => void): void {
  process.on('SIGHUP', reread);
}

/** Settles at the first signal to stop. A second one ends the process, also where it is the first of a container. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let isAsked = false;
    const stop = () => {
      if (isAsked) process.exit(130);
      isAsked = true;
      resolve();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
