/**
 * What went wrong between Postern and Redis, as a StoreFault. The errors of the client library are not kept as a cause:
 * they carry the arguments of the command that failed, and those of a failed AUTH are the password.
 */

import { Fault, StoreFault } from '../errors.ts';

/** What to do about the codes that an operator can do something about. */
const remedies: ReadonlyMap<string, string> = new Map([
  ['TIMEOUT', 'did not answer in time'],
  ['CLOSED', 'the store is closed'],
  ['BACKLOG', 'too many requests wait for an answer'],
  ['DISCONNECTED', 'is not connected'],
  ['ECONNREFUSED', 'refuses connections; is it running?'],
  ['ECONNRESET', 'cut the connection'],
  ['ETIMEDOUT', 'cannot be reached'],
  ['ENOTFOUND', 'has a host name that does not resolve'],
  ['NOAUTH', 'wants a password; set store.passwordFile'],
  ['WRONGPASS', 'refuses the user name or password; check store.passwordFile'],
  ['NOPERM', 'does not let this user run a command or reach a key; extend its ACL'],
  ['READONLY', 'is a read-only replica; point store.url at the primary'],
  ['LOADING', 'is still loading its data'],
  ['OOM', 'is out of memory; raise maxmemory'],
  ['MISCONF', 'refuses writes because it cannot save to disk'],
  ['MASTERDOWN', 'is a replica that has lost its primary'],
  ['NOREPLICAS', 'refuses writes because too few replicas are in sync'],
  ['WRONGTYPE', 'holds a key of another type under our prefix; give Postern a prefix of its own'],
  ['MOVED', 'is a cluster node; point store.url at a standalone server'],
  ['VERSION', 'is too old; Postern needs Redis 6.2 or later'],
  ['ANSWER', 'gave an answer that Postern does not understand; give Postern a prefix of its own'],
]);

/** The stable code of an error: the first word of a Redis error reply, the code of a system error, else DISCONNECTED. */
export function redisCode(error: unknown): string {
  if (!(error instanceof Error)) return 'DISCONNECTED';
  if (error.name === 'ReplyError') return replyCode(error.message);
  const code: unknown = 'code' in error ? error.code : undefined;
  return typeof code === 'string' && code.length <= 64 ? code : 'DISCONNECTED';
}

function replyCode(message: string): string {
  // Redis 6.2 wraps an error inside a script as "ERR Error running script (...): @user_script:3: -READONLY ...".
  const wrapped = message.startsWith('ERR ') ? /: -([A-Z]{2,32}) /.exec(message) : null;
  const first = wrapped ?? /^([A-Z]{2,32})(?: |$)/.exec(message);
  return first?.[1] ?? 'ERR';
}

/** `server` is host and port. The cause is a Fault whose code is `redis_` and the code in lower case. */
export function storeFault(server: string, code: string): StoreFault {
  const message = `Redis at ${server} ${remedies.get(code) ?? `failed with ${code}`}`;
  return new StoreFault(message, new Fault(`redis_${code.toLowerCase()}`, message));
}
