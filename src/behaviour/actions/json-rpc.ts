/** What a JSON body asks of an MCP server: a JSON-RPC 2.0 request, read so that the server reads no other. */

import { type Deny, deny } from '../../decision.ts';
import type { Fields, McpCall } from '../../exchange.ts';
import { isJsonObject } from '../../strict-json.ts';

/**
 * The call; 'batch' for an array with JSON-RPC in it, which is several calls and so none that a rule could name; null for
 * every other body. Notifications are calls too. A Deny where servers could disagree about what is asked.
 */
export function readMcpCall(json: unknown, fields: Fields): McpCall | 'batch' | null | Deny {
  const call = readCall(json);
  if (call === null || (call !== 'batch' && 'effect' in call)) return call;
  return isRepeatedAlike(fields, call, json) ? call : otherFields;
}

/**
 * MCP 2026-07-28, Streamable HTTP: whoever processes the body refuses a request whose fields Mcp-Method and Mcp-Name, where
 * they are there, say something else than it. What Mcp-Param fields repeat, only the tool's schema tells.
 */
function isRepeatedAlike(fields: Fields, call: McpCall | 'batch', json: unknown): boolean {
  const methods = fields.get('mcp-method');
  const names = fields.get('mcp-name');
  if (methods === undefined && names === undefined) return true;
  if (call === 'batch' || !isJsonObject(json)) return false;
  const { name, uri } = isJsonObject(json.params) ? json.params : {};
  const isOne = (values: readonly string[] | undefined, value: unknown) =>
    values === undefined || (values.length === 1 && decodeField(values[0] ?? '') === value);
  return isOne(methods, call.method) && isOne(names, name ?? uri);
}

/** What no field can carry as it is stands there in base64. */
function decodeField(value: string): string {
  const encoded = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/.exec(value)?.[1];
  return encoded === undefined ? value : Buffer.from(encoded, 'base64').toString('utf8');
}

function readCall(json: unknown): McpCall | 'batch' | null | Deny {
  if (Array.isArray(json)) return json.some((item) => isJsonObject(item) && hasJsonRpc(item)) ? 'batch' : null;
  if (!isJsonObject(json) || !hasJsonRpc(json)) return null;
  if (!isSpelt(json, envelope)) return misspelt;
  const { jsonrpc, method, params } = json;
  // JSON-RPC 2.0 §4: exactly "2.0", and a request has a method. A response has none.
  if (jsonrpc !== '2.0') return malformed('jsonrpc is not "2.0"');
  if (method === undefined) return null;
  if (typeof method !== 'string') return malformed('method is no string');
  if (method !== 'tools/call') return { method, tool: null };
  if (!isJsonObject(params) || typeof params.name !== 'string') return malformed('tools/call names no tool');
  if (!isSpelt(params, parameters)) return misspelt;
  // MCP: arguments are an object, and may be left out. Some clients write null for that.
  const given = params.arguments ?? undefined;
  if (given !== undefined && !isJsonObject(given)) return malformed('arguments are no object');
  return { method, tool: { name: params.name, arguments: given } };
}

const envelope: ReadonlySet<string> = new Set(['jsonrpc', 'method', 'params', 'id']);
const parameters: ReadonlySet<string> = new Set(['name', 'arguments']);

function hasJsonRpc(object: Readonly<Record<string, unknown>>): boolean {
  for (const name in object) if (name.length === 7 && folded(name) === 'jsonrpc') return true;
  return false;
}

/**
 * Whether no member is one of these in another spelling. Go's encoding/json, for one, takes `Method` for `method`, and the
 * last of both: a rule would see another call than the server.
 */
function isSpelt(object: Readonly<Record<string, unknown>>, names: ReadonlySet<string>): boolean {
  for (const name in object) if (name.length <= 9 && !names.has(name) && names.has(folded(name))) return false;
  return true;
}

/** Upper case first: so the Kelvin sign and the long s become the letters that they are read as. */
const folded = (name: string) => name.toUpperCase().toLowerCase();

function malformed(cause: string): Deny {
  return deny('body_malformed', {
    cause: `JSON-RPC: ${cause}`,
    detail: 'Send one JSON-RPC 2.0 message, and the same in fields.',
  });
}

const otherFields = malformed('Mcp-Method or Mcp-Name says something else');
const misspelt = malformed('a member in another spelling');
