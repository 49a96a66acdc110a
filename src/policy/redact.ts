/** Keeps what sounds secret out of what is shown of a request, whichever way an expression came by it. */

import type { Context } from './context.ts';
import { plainOf } from './plain.ts';
import { hasSecretQuery, isSecretName } from './secret-names.ts';

/** A value as it may be shown. `froms` are the lists that loops around the source go over. */
export type Redact = (source: string, froms: readonly string[], value: unknown) => unknown;

export const hidden = '[secret]';

const textMax = 200;
const itemsMax = 16;
const secretsMax = 256;
/** Shorter secrets are hidden where they are all of a text: within one they would be found by chance. */
const withinCharsMin = 4;
/** From which length on a text that is a part of a secret is taken for one. */
const partCharsMin = 6;

/** What an agent fills with whatever it likes. */
const untrusted =
  /\b(?:request\.(?:headers|query|path|body|url_path)|token\.(?:claims|authorization_details)|jwt|mcp)\b/;
/** Variables whose own name has a word of the others. */
const variables = /\b(?:token\.|jwt\b)/g;

const made = new WeakMap<Context, Redact>();

/** The same for the same context, so that it is searched once for all of its rules. */
export function redactFor(context: Context): Redact {
  const redact = made.get(context) ?? createRedact(context);
  made.set(context, redact);
  return redact;
}

function createRedact({ request, token, mcp }: Context): Redact {
  const secrets = new Set<string>();
  for (const value of [request.headers, request.query, request.body, token.claims, token.authorization_details]) {
    collect(value, false, secrets);
  }
  collect(mcp.tool, false, secrets);
  if (hasSecretQuery(request.path)) collect(request.path.slice(request.path.indexOf('?') + 1), true, secrets);
  const isHidden = (text: string) => secrets.size > secretsMax || holdsAny(text.toLowerCase(), secrets);
  return (source, froms, value) => {
    // Whether something held says no more than the result of the rule.
    if (typeof value === 'boolean') return value;
    if (![source, ...froms].some((text) => untrusted.test(text))) return cut(plainOf(value), () => false);
    if (isSecretName(source.replace(variables, ''))) return hidden;
    // The path is shown without its query, which may hold a secret under any name.
    if (source === 'request.path' && typeof value === 'string') return cut(value.split('?', 1)[0], isHidden);
    return cut(plainOf(value), isHidden);
  };
}

/** Values are within the bounds of documents, and so is this. */
function collect(value: unknown, isSecret: boolean, secrets: Set<string>): void {
  if (secrets.size > secretsMax) return;
  if (value instanceof Map) {
    for (const [name, member] of value) collect(member, isSecret || isSecretName(String(name)), secrets);
  } else if (Array.isArray(value)) for (const item of value) collect(item, isSecret, secrets);
  else if (typeof value === 'object' && value !== null) collect(new Map(Object.entries(value)), isSecret, secrets);
  else if (isSecret && value !== '' && typeof value !== 'boolean') secrets.add(String(value).toLowerCase());
}

/** Expressions join texts, split them and make them lower case. */
function holdsAny(text: string, secrets: ReadonlySet<string>): boolean {
  if (secrets.has(text)) return true;
  for (const secret of secrets) {
    if (secret.length >= withinCharsMin && text.includes(secret)) return true;
    if (text.length >= partCharsMin && secret.includes(text)) return true;
  }
  return false;
}

function cut(value: unknown, isHidden: (text: string) => boolean): unknown {
  if (typeof value === 'string') {
    if (isHidden(value)) return hidden;
    return value.length > textMax ? `${value.slice(0, textMax)}…` : value;
  }
  if (typeof value === 'number') return isHidden(String(value)) ? hidden : value;
  if (Array.isArray(value)) {
    const items = value.slice(0, itemsMax).map((item) => cut(item, isHidden));
    return value.length > itemsMax ? [...items, `… ${value.length - itemsMax} more`] : items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).slice(0, itemsMax);
  return Object.fromEntries(
    members.map(([name, member]) => [name, isSecretName(name) ? hidden : cut(member, isHidden)]),
  );
}
