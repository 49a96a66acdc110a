/** From what Node parsed to a ClientRequest that every later stage may rely on, or to the reason why not. */

import type { IncomingMessage } from 'node:http';
import type { Config } from '../config/schema.ts';
import { type Deny, deny, isDeny } from '../decision.ts';
import type { ClientRequest, Fields, PathOddity, Source } from '../exchange.ts';
import { hasProxyField, plainSpelling } from '../proxy-fields.ts';
import { listOf, readFields } from './fields.ts';
import { createReadForwardedCertificate, usualFields } from './forwarded-certificate.ts';
import { bodyBytesOf } from './framing.ts';
import { createIsTrustedPeer, createReadSource } from './source.ts';
import { vetTarget } from './target.ts';
import { webSocketKeyOf } from './web-socket.ts';

export type VetOptions = {
  readonly limits: Pick<Config['limits'], 'headers' | 'headerCount' | 'url'>;
  /** Accepted Host values, lower case; any where undefined. */
  readonly hosts: readonly string[] | undefined;
  readonly trustedProxies: readonly string[];
  /** What at least one route has opted in to. */
  readonly allowInPath?: readonly PathOddity[];
  /** The field in which trusted proxies, and nobody else, say which certificate the client has shown them. */
  readonly certificateField?: Config['listen']['clientCertificateField'];
  /** A field that speaks for a proxy came from a peer that is none, or in a spelling that no proxy of ours writes. */
  readonly onSpoofedField?: () => void;
  /** Further names that no Connection field may nominate: those that credentials and the stated reason use. */
  readonly protectedFields?: readonly string[];
};

const protectedByDefault = [
  'authorization',
  'proxy-authorization',
  'dpop',
  'txn-token',
  'cookie',
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'expect',
  'agent-reason',
];

/** The members of a Connection field that are no field of the request: connection options (RFC 9110 §7.6.1). */
const isOption = new Set(['close', 'keep-alive']);

// RFC 9110 §7.2 with the host forms of RFC 3986 §3.2.2 that are in use; linear, for no two parts share a character.
const hostForm = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/;

/** Looks at framing, fields, host and target. Who asks is not its matter: Authorization and DPoP are for identify. */
export function createVet(options: VetOptions): (incoming: IncomingMessage) => ClientRequest | Deny {
  const { limits } = options;
  const readClient = createReadClient(options);
  const hosts = options.hosts === undefined ? null : new Set(options.hosts);
  const isProtected = new Set([...protectedByDefault, ...(options.protectedFields ?? [])]);
  const targetOptions = { bytesMax: limits.url, allowed: new Set(options.allowInPath) };

  return (incoming) => {
    const version = incoming.httpVersion;
    // Node's parser also lets 0.9 and 2.0 pass on a request line.
    if (version !== '1.1' && version !== '1.0') return malformed('an HTTP version other than 1.0 and 1.1');
    const fields = readFields(incoming.rawHeaders, limits);
    if (isDeny(fields)) return fields;
    const bodyBytes = bodyBytesOf(fields, version);
    if (bodyBytes !== null && typeof bodyBytes !== 'number') return bodyBytes;
    const host = hostOf(fields, version);
    if (host === null) return malformed('a Host field that is missing, repeated or malformed');
    const nominated = connectionProblem(fields, isProtected) ?? expectationProblem(fields);
    if (nominated !== null) return nominated;

    const method = incoming.method ?? '';
    // RFC 9110 §9.3.8 and §9.3.6: TRACE would send the credential back, CONNECT would open a tunnel.
    if (method === 'TRACE' || method === 'CONNECT') return deny('method_not_allowed', { close: true });
    const webSocketKey = webSocketKeyOf(fields, 'upgrade' in incoming && incoming.upgrade === true);
    if (typeof webSocketKey === 'object') return webSocketKey;
    const target = vetTarget(incoming.url ?? '', targetOptions);
    if (isDeny(target)) return target;
    if (hosts !== null && !hosts.has(host) && !hosts.has(withoutPort(host))) return deny('no_route');
    const source = readClient(incoming, fields);
    if (isDeny(source)) return source;
    const request = { method, target, host, fields, bodyBytes, source };
    return webSocketKey === undefined ? request : { ...request, webSocketKey };
  };
}

type ReadClient = (incoming: IncomingMessage, fields: Map<string, string[]>) => Source | Deny;

/** Where the request comes from, with the certificate that a trusted proxy has seen. Takes that field out of `fields`. */
function createReadClient({ trustedProxies, certificateField, onSpoofedField }: VetOptions): ReadClient {
  const readSource = createReadSource(trustedProxies);
  const isTrustedPeer = createIsTrustedPeer(trustedProxies);
  if (certificateField === undefined) {
    return (incoming, fields) => {
      // Nobody believes them and none is passed on. Who sends them is worth knowing all the same.
      if (hasProxyField(fields.keys()) && !isTrustedPeer(incoming.socket)) onSpoofedField?.();
      return readSource(incoming);
    };
  }
  const name = certificateField.field ?? usualFields[certificateField.format];
  const plainName = plainSpelling(name);
  const read = createReadForwardedCertificate(certificateField.format);
  return (incoming, fields) => {
    const source = readSource(incoming);
    const values = fields.get(name) ?? [];
    const isTrusted = isTrustedPeer(incoming.socket);
    let isSpoofed = !isTrusted && (values.length > 0 || hasProxyField(fields.keys()));
    fields.delete(name);
    // Servers that hand fields on as variables cannot tell these spellings from the name itself.
    for (const other of fields.keys()) {
      if (other.length !== name.length || plainSpelling(other) !== plainName) continue;
      fields.delete(other);
      isSpoofed = true;
    }
    if (isSpoofed) onSpoofedField?.();
    if (!isTrusted) return source;
    if (values.length > 1) return malformed('more than one client certificate field');
    const certificate = read(values[0] ?? '');
    if (typeof certificate === 'string') return malformed(`a client certificate field with ${certificate}`);
    // Never the certificate of this connection, which is the proxy's own.
    return { ...source, certificate };
  };
}

/** RFC 9112 §3.2: exactly one Host on HTTP/1.1. Stricter: not an empty one, and at most one on 1.0. */
function hostOf(fields: Fields, version: '1.0' | '1.1'): string | null {
  const values = fields.get('host');
  if (values === undefined) return version === '1.0' ? '' : null;
  const host = (values[0] ?? '').toLowerCase();
  return values.length === 1 && hostForm.test(host) ? host : null;
}

function withoutPort(host: string): string {
  const colon = host.lastIndexOf(':');
  return colon < 0 || host.endsWith(']') ? host : host.slice(0, colon);
}

/**
 * RFC 9110 §7.6.1: fields that Connection names are for this hop only. They are taken out before rules see them, so
 * that no rule relies on a field that is then not sent. Naming one that Postern depends on is an attack or a fault.
 */
function connectionProblem(fields: Map<string, string[]>, isProtected: ReadonlySet<string>): Deny | null {
  const connection = fields.get('connection');
  if (connection !== undefined && !(connection.length === 1 && isOption.has(connection[0] ?? ''))) {
    for (const name of listOf(fields, 'connection')) {
      const plainName = plainSpelling(name);
      if (isProtected.has(plainName) || plainName.startsWith('postern-')) {
        return malformed('a Connection field that names a protected field');
      }
      if (name !== 'upgrade' && name !== 'connection') fields.delete(name);
    }
  }
  return null;
}

/** RFC 9110 §10.1.1: the only expectation there is. Looser ones could be ignored; we say that we don't meet them. */
function expectationProblem(fields: Fields): Deny | null {
  const values = fields.get('expect');
  if (values === undefined || (values.length === 1 && values[0]?.toLowerCase() === '100-continue')) return null;
  return malformed('an expectation other than 100-continue');
}

function malformed(cause: string): Deny {
  return deny('request_malformed', { cause, close: true });
}
