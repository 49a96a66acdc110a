/** Field lines, from what the parser saw: `incoming.headers` drops and joins repeated ones, `rawHeaders` does not. */

import { type Deny, deny } from '../decision.ts';
import type { Fields } from '../exchange.ts';

export type FieldLimits = {
  /** Bytes of all names and values, with separators. */
  readonly headers: number;
  readonly headerCount: number;
};

// RFC 9110 §5.5: field-content. One character class: it runs in linear time.
const invalidInValue = /[^\t\x20-\x7e\x80-\xff]/;

/** What Node's parser refuses already is refused here again, so that it does not depend on a parser's leniency. */
export function readFields(rawHeaders: readonly string[], limits: FieldLimits): Map<string, string[]> | Deny {
  if (rawHeaders.length > limits.headerCount * 2) return deny('headers_too_large', { close: true });
  const fields = new Map<string, string[]>();
  let bytes = 0;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    const value = rawHeaders[index + 1] ?? '';
    // RFC 9112 §5: colon, space and line end.
    bytes += name.length + value.length + 4;
    if (invalidInValue.test(value)) {
      return deny('request_malformed', { cause: 'a field value holds a control character', close: true });
    }
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  return bytes > limits.headers ? deny('headers_too_large', { close: true }) : fields;
}

/** The members of a comma-separated field, lower case (RFC 9110 §5.6.1). Empty where the field is absent. */
export function listOf(fields: Fields, name: string): readonly string[] {
  const values = fields.get(name);
  if (values === undefined) return [];
  return values.flatMap((value) =>
    value
      .split(',')
      .map((member) => member.trim().toLowerCase())
      .filter((member) => member !== ''),
  );
}
