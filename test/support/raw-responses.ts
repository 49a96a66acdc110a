/** Responses read by hand from what a client received, one after the other, as a strict client would. */

export type RawResponse = {
  readonly status: number;
  /** Lower-case names and values, in order. */
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
};

export type ReadResponses = {
  /** Final ones. */
  readonly responses: readonly RawResponse[];
  readonly interim: readonly number[];
  /** What is left that makes no whole response. */
  readonly rest: string;
};

/**
 * `methods` are those of the requests, in order: an answer to HEAD has no body, and one to `HEAD?` has one where the
 * connection ends with it. `hasEnded` when no byte will follow.
 */
export function readResponses(text: string, methods: readonly string[], hasEnded: boolean): ReadResponses {
  const responses: RawResponse[] = [];
  const interim: number[] = [];
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    const started = /^HTTP\/1\.1 (\d{3}) [^\r\n]*(?:\r\n|$)/.exec(rest);
    if (end < 0 || started === null) return { responses, interim, rest };
    const status = Number(started[1]);
    const fields = rest
      .slice(0, end)
      .split('\r\n')
      .slice(1)
      .map(
        (line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()] as const,
      );
    const after = rest.slice(end + 4);
    if (status < 200) {
      interim.push(status);
      rest = after;
      continue;
    }
    const method = methods[responses.length];
    const isWhole = hasEnded && after.length === Number(fieldOf({ fields }, 'content-length'));
    const hasBody = method !== 'HEAD' && (method !== 'HEAD?' || isWhole) && status !== 204 && status !== 304;
    const body = hasBody ? readBody(after, fields, hasEnded) : { body: '', rest: after };
    if (body === null) return { responses, interim, rest };
    responses.push({ status, fields, body: body.body });
    rest = body.rest;
  }
}

function readBody(
  text: string,
  fields: RawResponse['fields'],
  hasEnded: boolean,
): { body: string; rest: string } | null {
  const coding = fieldOf({ fields }, 'transfer-encoding');
  const length = fieldOf({ fields }, 'content-length');
  if (coding === undefined && length !== undefined) {
    const bytes = Number(length);
    return text.length < bytes ? null : { body: text.slice(0, bytes), rest: text.slice(bytes) };
  }
  if (coding === undefined) return hasEnded ? { body: text, rest: '' } : null;
  let body = '';
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n');
    const size = end < 0 ? Number.NaN : Number.parseInt(rest.slice(0, end), 16);
    if (Number.isNaN(size) || rest.length < end + 4 + size) return null;
    body += rest.slice(end + 2, end + 2 + size);
    rest = rest.slice(end + 4 + size);
    if (size === 0) return { body, rest };
  }
}

/** The first value of a field. */
export function fieldOf({ fields }: Pick<RawResponse, 'fields'>, name: string): string | undefined {
  return fields.find(([found]) => found === name)?.[1];
}
