/** `postern call URL`: an agent in one command. Gets a token, makes the proof, shows the decision and why. */

import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { createAgentClient } from '../agent-client.ts';
import { type BodyEnd, readBody, readVerdict, type Verdict, verdictOfStream } from '../agent-verdict.ts';
import { parseDuration } from '../config/units.ts';
import { type DemoSession, readSession, usualSessionFolder } from '../demo/session.ts';
import { Fault } from '../errors.ts';
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

export type CallOptions = {
  readonly url: string;
  readonly method?: string | undefined;
  /** The body itself, or @FILE. */
  readonly data?: string | undefined;
  /** Each `name: value`. */
  readonly headers?: readonly string[] | undefined;
  readonly issuer?: string | undefined;
  readonly clientId?: string | undefined;
  readonly clientSecretFile?: string | undefined;
  /** From the environment; a secret never stands on a command line. */
  readonly clientSecret?: string | undefined;
  readonly scope?: string | undefined;
  /** The origin of the URL where absent. */
  readonly audience?: string | undefined;
  /** Why the call is made, sent in agent-reason. */
  readonly reason?: string | undefined;
  /** How long the body is read, as a duration. */
  readonly maxTime?: string | undefined;
  readonly json: boolean;
  /** Where a running demo leaves what a client needs to know. */
  readonly sessionFolder?: string | undefined;
};

type Settings = {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope: string | undefined;
  readonly resource: string;
};

const secretBytesMax = 4096;
const dataBytesMax = 10_485_760;
const timeoutMs = 30_000;
/** What a timer can hold: almost 25 days. */
const timeoutMsMax = 2 ** 31 - 1;

/** Exit codes: 0 allowed, 1 denied, 2 wrong usage, 3 issuer, Postern or the API behind it failed, or cut the answer off. */
export async function call(options: CallOptions, io: Io): Promise<ExitCode> {
  const { json } = options;
  try {
    const url = URL.parse(options.url);
    if (url === null) throw new Fault('usage', 'URL must be absolute, such as http://127.0.0.1:8080/repos/acme/site');
    const fields = readFields(options);
    const body = options.data === undefined ? undefined : await readData(options.data);
    const method = (options.method ?? (body === undefined ? 'GET' : 'POST')).toUpperCase();
    if (!/^[A-Z-]{1,32}$/.test(method)) throw new Fault('usage', '--method must be an HTTP method such as POST');
    if (body !== undefined && (method === 'GET' || method === 'HEAD')) {
      throw new Fault('usage', `--data cannot go with ${method}`);
    }
    if (body !== undefined && isJson(body) && !fields.some(([name]) => name === 'content-type')) {
      fields.push(['content-type', 'application/json']);
    }
    const bodyTimeoutMs = readMaxTime(options);
    const client = createAgentClient({ ...(await readSettings(options, url)), timeoutMs });
    const { response, attempts } = await client.call(url, { method, fields, body });
    const stream = json ? null : verdictOfStream(response);
    if (stream !== null) {
      explain(io, stream, attempts);
      const bodyEnd = await follow(io, response, bodyTimeoutMs);
      return end(io, { ...stream, bodyEnd });
    }
    const verdict = await readVerdict(response, bodyTimeoutMs ?? timeoutMs);
    if (json) {
      writeJson(io.stdout, toJson(verdict, attempts));
      return exitCodeOf(verdict);
    }
    explain(io, verdict, attempts);
    // The explanation is the whole of Postern's own body.
    if (verdict.reason === null && verdict.body !== '') writeLine(io.stdout, `\n${printable(verdict.body)}`);
    return end(io, verdict);
  } catch (fault) {
    return reportFault(io, fault, { json });
  }
}

function exitCodeOf({ outcome, bodyEnd }: Verdict): ExitCode {
  if (outcome === 'denied') return exitCodes.no;
  return outcome === 'allowed' && bodyEnd !== 'cut' ? exitCodes.done : exitCodes.dependency;
}

function readMaxTime({ maxTime }: CallOptions): number | null {
  if (maxTime === undefined) return null;
  const timeMs = parseDuration(maxTime);
  if (timeMs !== null && timeMs > 0 && timeMs <= timeoutMsMax) return timeMs;
  throw new Fault('usage', '--max-time takes a duration such as 10s, 5m or 1h, up to 24d');
}

/** Options first; what is missing comes from the running demo, and only for a URL that is the demo's own. */
async function readSettings(options: CallOptions, url: URL): Promise<Settings> {
  const demo = await readSession(options.sessionFolder ?? usualSessionFolder, url.origin);
  const issuer = options.issuer ?? demo?.issuer;
  const clientId = options.clientId ?? demo?.clientId;
  if (issuer === undefined || clientId === undefined) throw new Fault('usage', missingText(options, url));
  return {
    issuer,
    clientId,
    clientSecret: await readClientSecret(options, demo?.issuer === issuer && demo.clientId === clientId ? demo : null),
    scope: options.scope ?? demo?.scope,
    resource: options.audience ?? demo?.audience ?? url.origin,
  };
}

/** All that is missing at once, for one is as good as none. */
function missingText({ issuer, clientId, clientSecretFile, clientSecret }: CallOptions, { origin }: URL): string {
  const hasSecret = clientSecretFile !== undefined || (clientSecret ?? '') !== '';
  const missing = [
    ...(issuer === undefined ? ['--issuer'] : []),
    ...(clientId === undefined ? ['--client-id'] : []),
    ...(hasSecret ? [] : ['--client-secret-file']),
  ];
  const named =
    missing.length === 1 ? `${missing[0]} is` : `${missing.slice(0, -1).join(', ')} and ${missing.at(-1)} are`;
  return `${named} needed: no demo of this user runs at ${origin} (start it with: npm start)`;
}

async function readClientSecret(options: CallOptions, demo: DemoSession | null): Promise<string> {
  const file = options.clientSecretFile ?? demo?.clientSecretFile;
  if (file === undefined) {
    // A secret of the environment belongs to some other client than the demo's.
    if (options.clientSecret !== undefined && options.clientSecret !== '') return options.clientSecret;
    throw new Fault('usage', 'the client needs its secret: name a file with --client-secret-file');
  }
  const secret = (await readBounded(file, secretBytesMax, '--client-secret-file')).toString('utf8').trim();
  if (secret === '') throw new Fault('usage', `--client-secret-file: ${file} is empty`);
  return secret;
}

async function readData(data: string): Promise<string | Uint8Array<ArrayBuffer>> {
  return data.startsWith('@') ? new Uint8Array(await readBounded(data.slice(1), dataBytesMax, '--data')) : data;
}

async function readBounded(file: string, bytesMax: number, option: string): Promise<Buffer> {
  try {
    const handle = await open(file);
    try {
      const { size } = await handle.stat();
      if (size > bytesMax) throw new Fault('usage', `${option}: ${file} has more than ${bytesMax} bytes`);
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (fault) {
    if (fault instanceof Fault) throw fault;
    throw new Fault('usage', `${option}: ${file} cannot be read`, fault);
  }
}

/** Fields that the client itself makes, or that the connection needs to be right. */
const ownFields: ReadonlySet<string> = new Set([
  'authorization',
  'dpop',
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'expect',
  'te',
  'trailer',
]);

function readFields({ headers = [], reason }: CallOptions): [string, string][] {
  const fields = headers.map((header): [string, string] => {
    const colon = header.indexOf(':');
    const name = header.slice(0, Math.max(colon, 0)).trim().toLowerCase();
    return checkedField('--header', name, header.slice(colon + 1).trim());
  });
  if (reason !== undefined) fields.push(checkedField('--reason', 'agent-reason', reason));
  return fields;
}

function checkedField(option: string, name: string, value: string): [string, string] {
  // RFC 9110 §5.1 and §5.5.
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]{1,64}$/.test(name)) throw new Fault('usage', `${option} must be "name: value"`);
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw new Fault('usage', `${option}: a value holds one line of Latin-1 text`);
  }
  if (ownFields.has(name)) throw new Fault('usage', `${option}: ${name} is set by the client itself`);
  return [name, value];
}

function isJson(body: string | Uint8Array): boolean {
  try {
    JSON.parse(typeof body === 'string' ? body : new TextDecoder().decode(body));
    return true;
  } catch {
    return false;
  }
}

function toJson(verdict: Verdict, attempts: number): object {
  return {
    decision: verdict.outcome,
    status: verdict.status,
    decision_id: verdict.decisionId,
    reason: verdict.reason,
    title: verdict.title,
    detail: verdict.detail,
    rule: verdict.rule,
    retry_after: verdict.retryAfter,
    challenge: verdict.challenge,
    attempts,
    body: verdict.body,
    body_end: verdict.bodyEnd,
  };
}

const headlines: Readonly<Record<Verdict['outcome'], string>> = {
  allowed: 'allowed',
  denied: 'denied',
  failed: 'allowed, but the API behind Postern failed',
  foreign: 'no decision: this answer does not come from Postern',
};

function explain(io: Io, verdict: Verdict, attempts: number): void {
  const paint = createPaint(io);
  const headline = headlines[verdict.outcome];
  const colour = verdict.outcome === 'allowed' ? paint.good : paint.bad;
  writeLine(io.stdout, `${colour(paint.strong(headline))}  status ${verdict.status}`);
  const rows: readonly (readonly [string, string | null])[] = [
    ['decision', verdict.decisionId],
    ['reason', verdict.reason],
    ['meaning', verdict.title],
    ['what to do', verdict.detail],
    ['rule', verdict.rule],
    ['retry after', verdict.retryAfter],
    ['challenge', verdict.challenge],
    ['nonce', attempts > 1 ? 'asked for by the server, sent with a second proof' : null],
  ];
  for (const [name, value] of rows) {
    if (value !== null) writeLine(io.stdout, `  ${paint.faint(name.padEnd(11))}  ${printable(value)}`);
  }
}

/** Shows events as they come, for as long as somebody reads. */
async function follow({ stdout }: Io, response: Response, timeoutMs: number | null): Promise<BodyEnd> {
  // process.stdout forgets its errors, so whether there is a reader must be kept here.
  let hasReader = true;
  const lose = () => {
    hasReader = false;
  };
  stdout.on('error', lose);
  try {
    stdout.write('\n');
    return await readBody(response, { bytesMax: Number.POSITIVE_INFINITY, timeoutMs }, async (text) => {
      if (!stdout.write(printable(text))) await once(stdout, 'drain').catch(lose);
      return hasReader;
    });
  } finally {
    stdout.off('error', lose);
  }
}

/** Says where the body is not all there. */
function end(io: Io, verdict: Verdict): ExitCode {
  const { bodyEnd, decisionId } = verdict;
  const paint = createPaint(io);
  if (bodyEnd === 'bytes') writeLine(io.stdout, paint.faint('(the rest of the body is not shown)'));
  if (bodyEnd === 'time') writeLine(io.stdout, paint.faint('(not read any longer: --max-time sets for how long)'));
  if (bodyEnd === 'cut') {
    writeLine(io.stdout, paint.bad('cut off: the other side ended the connection before the end of the answer'));
    if (decisionId !== null) writeLine(io.stdout, `  to see why: postern explain ${printable(decisionId)}`);
  }
  return exitCodeOf(verdict);
}
