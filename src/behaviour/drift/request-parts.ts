/** Where destinations may stand in a request, and whose session it is part of. */

import type { AccessToken, ClientRequest, HeldBody, Possession } from '../../exchange.ts';
import { isJsonObject } from '../../strict-json.ts';
import type { Parts } from './destinations.ts';

const pairsMax = 32;
const sessionCharsMax = 256;

export function partsOf({ target }: ClientRequest, heldBody: HeldBody | null): Parts {
  const { path, query } = target;
  return {
    segments: path.length > 1 ? path.slice(1).split('/').map(decode) : [],
    ...(query === null ? {} : pairsOf(query)),
    body: bodyOf(heldBody),
  };
}

/** Of JSON-RPC only what is asked with: the id of a message names nothing. */
function bodyOf(heldBody: HeldBody | null): unknown {
  if (heldBody === null || heldBody.mcp === null) return heldBody?.json;
  const { json, mcp } = heldBody;
  if (mcp === 'batch') return Array.isArray(json) ? json.map(paramsOf) : undefined;
  return mcp.tool === null ? paramsOf(json) : mcp.tool.arguments;
}

function paramsOf(message: unknown): unknown {
  if (!isJsonObject(message)) return undefined;
  const { params } = message;
  return isJsonObject(params) && 'arguments' in params ? params.arguments : params;
}

function pairsOf(query: string): Pick<Parts, 'query' | 'hasMore'> {
  const pairs = query.split('&', pairsMax + 1);
  const read = (text: string) => decode(text.replaceAll('+', ' '));
  return {
    hasMore: pairs.length > pairsMax,
    query: pairs.slice(0, pairsMax).map((pair) => {
      const equals = pair.indexOf('=');
      return equals < 0 ? [read(pair), ''] : [read(pair.slice(0, equals)), read(pair.slice(equals + 1))];
    }),
  };
}

/** In a path a plus is a plus: `eve+1@example.net`. */
function decode(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export type SessionOptions = {
  readonly by: 'key' | 'token';
  /** Lower case; its value tells sessions of one key or token apart. */
  readonly header?: string | undefined;
};

/** Requests of one session follow each other: those of one key or token on behalf of one subject. */
export function createSessionOf({ by, header }: SessionOptions) {
  return (request: ClientRequest, accessToken: AccessToken, { jkt, x5t }: Possession): string => {
    const key = by === 'key' ? (jkt ?? x5t ?? accessToken.jti) : accessToken.jti;
    const named = header === undefined ? undefined : request.fields.get(header)?.[0]?.slice(0, sessionCharsMax);
    return `${key} ${accessToken.subject}${named === undefined ? '' : ` ${named}`}`;
  };
}
