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
  ['NOPERM', 'does not let this user run a command or reach a key or channel; extend its ACL'],
  ['READONLY', 'is a read-only replica; Postern needs the primary'],
  ['LOADING', 'is still loading its data'],
  ['OOM', 'is out of memory; raise maxmemory'],
  ['MISCONF', 'refuses writes because it cannot save to disk'],
  ['MASTERDOWN', 'is a replica that has lost its primary'],
  ['NOREPLICAS', 'refuses writes because too few replicas are in sync'],
  ['WRONGTYPE', 'holds a key of another type under our prefix; give Postern a prefix of its own'],
  ['MOVED', 'no longer holds our keys; the node that does is looked for'],
  ['ASK', 'is handing our keys to another node; until that is done, calls are refused'],
  ['TRYAGAIN', 'is handing our keys to another node; until that is done, calls are refused'],
  ['CLUSTERDOWN', 'belongs to a cluster that is down'],
  ['CROSSSLOT', 'says that our keys are in several slots; give Postern a prefix without braces'],
  ['CLUSTER', 'is a cluster node; name it under store.cluster instead of store.url or store.sentinels'],
  ['NOCLUSTER', 'is no cluster node; name it in store.url instead of store.cluster'],
  ['SENTINEL', 'is a Sentinel; name it under store.sentinels'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'shows a certificate that is not trusted; set store.tls.caFile'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'shows a certificate that is not trusted; set store.tls.caFile'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'shows a certificate that is not trusted; set store.tls.caFile'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'shows a certificate that is not trusted; set store.tls.caFile'],
  ['CERT_HAS_EXPIRED', 'shows a certificate that has expired'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'shows a certificate for another name; set store.tls.serverName'],
  ['EMPTIED', 'has lost everything; calls are refused until the sidecars have given back what is revoked'],
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

/**
 * `server` is host and port, and `detail` goes before what is generally said of a code. The cause is a Fault whose code
 * is `redis_` and the code in lower case.
 */
export function storeFault(server: string, code: string, detail: string | null = null): StoreFault {
  const message = `Redis at ${server} ${detail ?? remedies.get(code) ?? `failed with ${code}`}`;
  return new StoreFault(message, new Fault(`redis_${code.toLowerCase()}`, message));
}
