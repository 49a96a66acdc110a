/** JSON of a body, read so that whoever reads it next can read nothing else (RFC 8259, RFC 8725 §2.4). */

import { type Deny, deny } from '../decision.ts';
import type { Fields } from '../exchange.ts';
import { parseStrictJsonBytes } from '../strict-json.ts';

const depthMax = 32;

/**
 * Whether the body is said to be JSON; a Deny where two readers could disagree about what it is said to be. A body that
 * is not said to be JSON is none of ours: rules see no `request.body` then.
 */
export function isJsonBody(fields: Fields): boolean | Deny {
  const types = fields.get('content-type');
  if (types === undefined) return false;
  if (types.length !== 1) return malformed('more than one Content-Type');
  const [type = '', ...parameters] = (types[0] ?? '').toLowerCase().split(';');
  const essence = type.trim();
  // RFC 6839 §3.1: the suffix.
  if (essence !== 'application/json' && !(essence.startsWith('application/') && essence.endsWith('+json'))) {
    // RFC 9110 §5.6.1: a list where one type belongs; some readers take its last member, others its first.
    return essence.includes(',') && essence.includes('json') ? malformed('a list of content types') : false;
  }
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=');
    // RFC 8259 §8.1, §11: JSON is UTF-8, and has no charset parameter. Whoever believes another one reads another text.
    if (name.trim() === 'charset' && value.trim().replaceAll('"', '') !== 'utf-8') return malformed('another charset');
  }
  // What is coded would have to be decoded to be judged, and could be decoded to more than one text.
  const codings = fields.get('content-encoding');
  const isPlain = codings === undefined || (codings.length === 1 && codings[0]?.toLowerCase() === 'identity');
  return isPlain ? true : malformed('a Content-Encoding');
}

/** The value of the text, or undefined for an empty body. */
export function parseJsonBody(bytes: Buffer): { readonly json: unknown } | Deny {
  if (bytes.length === 0) return { json: undefined };
  const json = parseStrictJsonBytes(bytes, { maxDepth: depthMax });
  if (json === undefined) return malformed('not JSON, not UTF-8, a repeated name, or nested too deep');
  // Bytes that are UTF-8 hold such characters as escapes only, and few texts have any.
  if (bytes.includes('\\u') && !isReadAlike(json)) return malformed('half a surrogate pair, or NUL in a name');
  return { json };
}

/**
 * RFC 7493 §2.1: no half of a surrogate pair. Some readers cut a string there, and some in C a name at NUL, so that
 * `"admin\ud800"` is `admin` and `"to\u0000"` a second `to`.
 */
function isReadAlike(json: unknown): boolean {
  if (typeof json === 'string') return json.isWellFormed();
  if (typeof json !== 'object' || json === null) return true;
  if (Array.isArray(json)) return json.every(isReadAlike);
  return Object.entries(json).every(
    ([name, value]) => name.isWellFormed() && !name.includes('\0') && isReadAlike(value),
  );
}

function malformed(cause: string): Deny {
  return deny('body_malformed', { cause, detail: 'Send the body as one JSON text in UTF-8, without a coding.' });
}
