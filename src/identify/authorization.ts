/** Where an access token may stand in a request, and how it must be written there. */

import { unescape as percentDecode } from 'node:querystring';
import { type Deny, deny } from '../decision.ts';
import type { ClientRequest } from '../exchange.ts';

export type Authorization = { readonly scheme: 'DPoP' | 'Bearer'; readonly raw: string };

/** The one access token that a request presents, not verified in any way, or why there is none. */
export function readAuthorization(request: ClientRequest): Authorization | Deny {
  const values = request.fields.get('authorization') ?? [];
  // RFC 9449 §7.2: more than one way to present a token at once is invalid_request on every scheme on offer, which a
  // challenge that singles out no scheme stands for.
  if (values.length > 1) {
    return deny('request_malformed', {
      detail: 'Send exactly one Authorization field.',
      cause: 'more than one Authorization field',
      challenge: {},
    });
  }
  // RFC 9449 §7.1, RFC 9700 §4.3.2: a token in the query ends up in logs. Refused even beside a good one.
  if (request.target.query !== null && hasAccessTokenParameter(request.target.query)) {
    return deny('request_malformed', {
      detail: 'Send the access token in the Authorization field, never in the query.',
      cause: 'access_token in the query',
      challenge: {},
    });
  }
  const value = values[0];
  if (value === undefined) return missing('no Authorization field');
  return parseAuthorization(value);
}

function parseAuthorization(value: string): Authorization | Deny {
  const space = value.indexOf(' ');
  const name = (space < 0 ? value : value.slice(0, space)).toLowerCase();
  // RFC 9110 §11.1: the scheme compares without case.
  const scheme = name === 'dpop' ? 'DPoP' : name === 'bearer' ? 'Bearer' : null;
  // RFC 6750 §3.1: a request with a scheme that is not on offer has no credentials at all.
  if (scheme === null) return missing('Authorization uses another scheme');
  // RFC 9110 §11.4: 1*SP between scheme and credentials. A tab is not a space.
  let start = space < 0 ? value.length : space;
  while (value.charCodeAt(start) === 0x20) start += 1;
  const raw = value.slice(start);
  if (!isToken68(raw)) {
    return deny('request_malformed', {
      detail: `Write Authorization as "${scheme}", one space, and the access token.`,
      cause: 'credentials in Authorization are not token68',
      challenge: { scheme },
    });
  }
  return { scheme, raw };
}

function missing(cause: string): Deny {
  return deny('token_missing', {
    detail: 'Present an access token for this API in the Authorization field, with the DPoP scheme and a proof.',
    cause,
  });
}

/** RFC 9110 §11.2: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=". */
function isToken68(text: string): boolean {
  return /^[A-Za-z0-9\-._~+/]+=*$/.test(text);
}

/** Stricter than RFC 6750 §2.3, which names one exact spelling: upstreams decode, and some ignore case. */
function hasAccessTokenParameter(query: string): boolean {
  for (const pair of query.split(/[&;]/)) {
    const end = pair.indexOf('=');
    const name = end < 0 ? pair : pair.slice(0, end);
    const plain = name.includes('%') ? percentDecode(name) : name;
    if (plain.length === accessToken.length && plain.toLowerCase() === accessToken) return true;
  }
  return false;
}

const accessToken = 'access_token';
