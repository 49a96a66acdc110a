/** The reason that an agent states for its call. Untrusted text: recorded and matched by rules, never authority. */

import { RE2JS } from 're2js';
import { type Deny, deny } from '../decision.ts';
import type { Fields, StatedReason } from '../exchange.ts';
import { isJsonObject } from '../strict-json.ts';

export const statedReasonLengthMax = 256;
/** Before control characters are taken out. */
const rawLengthMax = 4096;

export type StatedReasonOptions = {
  /** Lower-case field name. */
  readonly header: string;
  /** Member of `params._meta` in a JSON-RPC body. */
  readonly metaKey: string;
  readonly required: boolean;
  /** RE2 syntax, matched against the whole reason. Compiled here; an invalid one throws. */
  readonly pattern?: string | undefined;
};

/** Where a reason may be stated. The first place that has one counts, whatever the others say. */
export type ReasonPlaces = {
  /** The claim `reason` of the proof: made with the key, for this very call. */
  readonly signed: unknown;
  readonly fields: Fields;
  /** Of an inspected body; undefined where there is none. */
  readonly json: unknown;
  /** The body is still to be read, so that nothing can be missing yet. */
  readonly isBodyAwaited: boolean;
};

export type ReadReason = (places: ReasonPlaces) => StatedReason | null | Deny;

/**
 * Null where no reason is stated and none is required. A reason that is stated in a wrong form is refused and never
 * passed over: an unsigned one must not take the place of one that was signed. It is `reason_required` for all places,
 * for a proof may have claims of any kind and is a good proof all the same (RFC 9449 §4.2).
 */
export function createReadReason(options: StatedReasonOptions): ReadReason {
  const { header, metaKey, required } = options;
  const pattern = options.pattern === undefined ? null : RE2JS.compile(options.pattern);
  const places = `in the claim reason of the proof or in the ${header} field`;

  return ({ signed, fields, json, isBodyAwaited }) => {
    const stated = find(signed, fields.get(header), () => metaReason(json, metaKey));
    if (stated === null) {
      return required && !isBodyAwaited
        ? deny('reason_required', { detail: `State the reason for the call ${places}.` })
        : null;
    }
    const { text } = stated;
    if (text === '' || text.length > statedReasonLengthMax) {
      return deny('reason_required', {
        detail: `State one reason of 1 to ${statedReasonLengthMax} characters ${places}.`,
        cause: `stated reason (${stated.source}) is not one text of 1 to ${statedReasonLengthMax} characters`,
      });
    }
    if (pattern !== null && !pattern.matches(text)) {
      return deny('reason_required', { detail: `State the reason ${places} in the form that this API asks for.` });
    }
    return stated;
  };
}

/** An empty text stands for a reason in a wrong form. */
function find(signed: unknown, values: readonly string[] | undefined, meta: () => unknown): StatedReason | null {
  if (signed !== undefined) return { text: cleaned(signed), source: 'signed' };
  if (values !== undefined) {
    return { text: values.length === 1 ? decodeField(values[0] ?? '') : '', source: 'header' };
  }
  const inMeta = meta();
  return inMeta === undefined ? null : { text: cleaned(inMeta), source: 'meta' };
}

/**
 * MCP (2026-07-28), `params._meta` of one JSON-RPC message. Nothing is taken from a batch, which has a reason for each
 * of its calls or for none.
 */
function metaReason(json: unknown, metaKey: string): unknown {
  if (!isJsonObject(json) || !isJsonObject(json.params) || !isJsonObject(json.params._meta)) return undefined;
  const meta = json.params._meta;
  return Object.hasOwn(meta, metaKey) ? meta[metaKey] : undefined;
}

/** Node reads fields as Latin-1; agents write UTF-8. Quotes of a structured string (RFC 9651 §3.3.3) are taken off. */
function decodeField(value: string): string {
  const text = Buffer.from(value, 'latin1').toString('utf8').trim();
  return cleaned(/^"(?:[^"\\]|\\["\\])*"$/.test(text) ? text.slice(1, -1).replace(/\\(["\\])/g, '$1') : text);
}

function cleaned(value: unknown): string {
  if (typeof value !== 'string' || value.length > rawLengthMax) return '';
  return [...value.trim()].filter((character) => !isControl(character.codePointAt(0) ?? 0)).join('');
}

function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x2028 || code === 0x2029;
}
