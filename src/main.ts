#!/usr/bin/env node
/** The command line. The only reader of process.env. */

import { styleText } from 'node:util';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type CallOptions, call } from './cli/call.ts';
import { check } from './cli/check.ts';
import { demo } from './cli/demo.ts';
import { type ExitCode, exitCodes, type Io } from './cli/output.ts';
import { type RevocationKind, revocationKinds, revocations, revoke } from './cli/revoke.ts';
import { run } from './cli/run.ts';
import { schema } from './cli/schema.ts';
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
  new Option('--admin <url>', 'admin API of the sidecar').env('POSTERN_ADMIN').default('http://127.0.0.1:9901');
const tokenOption = () =>
  new Option('--token-file <file>', 'file with the admin token').env('POSTERN_ADMIN_TOKEN_FILE');
const stopping = `The first SIGTERM or SIGINT lets live requests finish: readiness fails at once, no requests are taken after
shutdown.delay, and what is left at shutdown.deadline is cut. A second one ends it at once, with exit code 130.`;
const revokeHelp = `
What the kinds mean, and where to read the value in an audit record:
  agent    whoever acts: .agent.id, from every issuer
  subject  on whose behalf: .subject.id; with --issuer, of that issuer only
  jkt      one key, with every token bound to it: .pop.jkt
  jti      one token: .token.jti, with --issuer .token.iss

Examples:
  postern revoke agent agent-7 --reason "laptop stolen"
  postern revoke jti 0f3c9a --issuer https://login.example.com --reason "leaked" --until 2027-01-31T12:00:00Z

It holds from the next call on, on every sidecar that shares the store. Lift it with: postern revocations --lift ID`;
const finish = (code: ExitCode) => {
  process.exitCode = code;
};

program
  .command('run')
  .description('run the sidecar until SIGTERM or SIGINT')
  .addOption(configOption())
  .addOption(jsonOption('where it listens, as JSON; on standard error, since audit records may own standard output'))
  .addHelpText('after', `\n${stopping}`)
  .action(async (options) => finish(await run({ ...options, env: process.env, stopped: stopSignal() }, io)));

program
  .command('check')
  .description('verify configuration and rules without starting')
  .addOption(configOption())
  .addOption(jsonOption())
  .action(async (options) => finish(await check({ ...options, env: process.env }, io)));

program
  .command('schema')
  .description('print the JSON Schema of postern.yaml')
  .addOption(jsonOption())
  .action(() => finish(schema(io)));

program
  .command('revoke')
  .description('refuse an agent, subject, key or token from its next call on')
  .argument('<kind>', `what to revoke: ${revocationKinds.join(', ')}`, kindOf)
  .argument('<value>', 'its identifier, as the audit log shows it')
  .requiredOption('--reason <text>', 'why; kept with the entry')
  .option('--issuer <url>', 'issuer of the token (needed for jti) or of the subject')
  .option('--until <time>', 'forget the entry then (RFC 3339); without it, it stands until lifted')
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
  .addOption(adminOption())
  .addOption(tokenOption())
  .addOption(jsonOption())
  .action(async (options) => finish(await revocations(options, io)));

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
  .option('--scope <scopes>', 'space-separated')
  .option('--audience <uri>', 'audience of the token; the origin of the URL by default')
  .option('--reason <text>', 'why the call is made; sent as agent-reason')
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

function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
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
