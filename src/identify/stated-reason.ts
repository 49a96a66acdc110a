/** The reason that an agent states for its call. Untrusted text: recorded and matched by rules, never authority. */

import { RE2JS } from 're2js';
import { type Deny, deny } from '../decision.ts';
import type { ClientRequest } from '../exchange.ts';

export const statedReasonLengthMax = 256;

export type StatedReasonOptions = {
  /** Lower-case field name. */
  readonly header: string;
  readonly required: boolean;
  /** RE2 syntax, matched against the whole reason. Compiled here; an invalid one throws. */
  readonly pattern?: string | undefined;
};

/** Null where no reason is stated and none is required. */
export function createReadReason(options: StatedReasonOptions): (request: ClientRequest) => string | null | Deny {
  const pattern = options.pattern === undefined ? null : RE2JS.compile(options.pattern);
  return (request) => {
    const values = request.fields.get(options.header);
    if (values === undefined) {
      return options.required
        ? deny('reason_required', { detail: `State the reason for the call in the ${options.header} field.` })
        : null;
    }
    const text = values.length === 1 ? decode(values[0] ?? '') : '';
    if (text === '' || text.length > statedReasonLengthMax) {
      return deny('reason_required', {
        detail: `State one reason of 1 to ${statedReasonLengthMax} characters in the ${options.header} field.`,
      });
    }
    if (pattern !== null && !pattern.matches(text)) {
      return deny('reason_required', {
        detail: `State the reason in the ${options.header} field in the form that this API asks for.`,
      });
    }
    return text;
  };
}

/** Node reads fields as Latin-1; agents write UTF-8. Quotes of a structured string (RFC 9651 §3.3.3) are taken off. */
function decode(value: string): string {
  const text = Buffer.from(value, 'latin1').toString('utf8').trim();
  const bare = /^"(?:[^"\\]|\\["\\])*"$/.test(text) ? text.slice(1, -1).replace(/\\(["\\])/g, '$1') : text;
  return [...bare].filter((character) => !isControl(character.codePointAt(0) ?? 0)).join('');
}

function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x2028 || code === 0x2029;
}
