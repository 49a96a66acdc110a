/** Where a request comes from: the peer of the connection, its client certificate, and what a trusted proxy adds. */

import { hash, type X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { type ConfigurationProblem, Fault } from '../errors.ts';
import type { ClientCertificate, Source } from '../exchange.ts';

/** What is wrong with `listen.trustedProxies`; empty where nothing is. */
export function trustedProxyProblems(trustedProxies: readonly string[]): readonly ConfigurationProblem[] {
  return trustedProxies.flatMap((range, index) =>
    addRange(new BlockList(), range)
      ? []
      : [
          {
            path: ['listen', 'trustedProxies', index],
            message: 'must be an address or a CIDR range such as 10.0.0.0/8',
          },
        ],
  );
}

/** Throws Fault on a range that is none. The source of a connection is read once and then shared by its requests. */
export function createReadSource(
  trustedProxies: readonly string[],
): (incoming: Pick<IncomingMessage, 'socket' | 'rawHeaders'>) => Source {
  const isTrusted = createIsTrusted(trustedProxies);
  const peers = new WeakMap<Socket, Source>();
  return (incoming) => {
    const { socket } = incoming;
    let peer = peers.get(socket);
    if (peer === undefined) {
      peer = readPeer(socket);
      peers.set(socket, peer);
    }
    if (!isTrusted(peer.address)) return peer;
    const address = forwardedFor(incoming.rawHeaders, isTrusted);
    // The port is the proxy's own, and says nothing about the client.
    return address === null ? peer : { ...peer, address, port: 0 };
  };
}

/** Whether the peer of a connection is one of these proxies, whatever it forwards. Throws Fault on a range that is none. */
export function createIsTrustedPeer(trustedProxies: readonly string[]): (socket: Socket) => boolean {
  const isTrusted = createIsTrusted(trustedProxies);
  return (socket) => isTrusted(plainAddress(socket.remoteAddress ?? ''));
}

function createIsTrusted(trustedProxies: readonly string[]): (address: string) => boolean {
  const trusted = new BlockList();
  for (const range of trustedProxies) {
    if (!addRange(trusted, range)) throw new Fault('configuration', `listen.trustedProxies: ${range} is no range`);
  }
  return (address) => {
    const version = trustedProxies.length === 0 ? 0 : isIP(address);
    return version !== 0 && trusted.check(address, version === 6 ? 'ipv6' : 'ipv4');
  };
}

function readPeer(socket: Socket): Source {
  const isTls = socket instanceof TLSSocket;
  return {
    address: plainAddress(socket.remoteAddress ?? ''),
    port: socket.remotePort ?? 0,
    tls: isTls,
    certificate: isTls ? certificateOf(socket.getPeerX509Certificate(), socket.authorized) : null,
  };
}

/** RFC 4291 §2.5.5.2: an IPv4 address seen through an IPv6 socket is written as IPv4. */
function plainAddress(address: string): string {
  const isMapped = address.toLowerCase().startsWith('::ffff:') && address.includes('.');
  return isMapped ? address.slice(7) : address;
}

function certificateOf(certificate: X509Certificate | undefined, isVerified: boolean): ClientCertificate | null {
  if (certificate === undefined) return null;
  return {
    // RFC 8705 §3.1: base64url of SHA-256 over the DER encoding.
    thumbprint: hash('sha256', certificate.raw, 'base64url'),
    // RFC 8705 §2.2: a certificate that nobody vouches for proves a key. Whoever made it chose the names in it.
    uriSan: isVerified ? firstUri(certificate.subjectAltName ?? '') : null,
  };
}

/** Node writes names as `URI:a, DNS:b` and quotes, as JSON does, a value that could be taken for a separator. */
function firstUri(names: string): string | null {
  let from = 0;
  while (from < names.length) {
    const quote = names.indexOf('"', from);
    const comma = names.indexOf(', ', from);
    const isQuoted = quote >= 0 && (comma < 0 || quote < comma);
    const end = isQuoted ? closingQuote(names, quote) + 1 : comma < 0 ? names.length : comma;
    if (names.startsWith('URI:', from)) {
      return isQuoted ? (JSON.parse(names.slice(quote, end)) as string) : names.slice(from + 4, end);
    }
    from = end + 2;
  }
  return null;
}

function closingQuote(text: string, open: number): number {
  let index = open + 1;
  while (index < text.length && text[index] !== '"') index += text[index] === '\\' ? 2 : 1;
  return index;
}

/**
 * The last hop of X-Forwarded-For that is not one of ours: what stands left of it was written by others. Null where
 * the field is absent or its last hop is no address.
 */
function forwardedFor(rawHeaders: readonly string[], isTrusted: (address: string) => boolean): string | null {
  const hops: string[] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() === 'x-forwarded-for') hops.push(...(rawHeaders[index + 1] ?? '').split(','));
  }
  let nearest: string | null = null;
  for (let index = hops.length - 1; index >= 0; index--) {
    const address = hopAddress((hops[index] ?? '').trim());
    if (address === null) return nearest;
    nearest = address;
    if (!isTrusted(address)) return address;
  }
  return nearest;
}

/** An address with or without a port; null for anything else, such as `unknown`. */
function hopAddress(hop: string): string | null {
  if (isIP(hop) !== 0) return plainAddress(hop);
  const bracket = hop.startsWith('[') ? hop.indexOf(']') : -1;
  const bare = bracket > 0 ? hop.slice(1, bracket) : hop.slice(0, Math.max(0, hop.lastIndexOf(':')));
  return isIP(bare) !== 0 ? plainAddress(bare) : null;
}

function addRange(list: BlockList, range: string): boolean {
  const [address = '', prefix, ...rest] = range.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || (prefix !== undefined && !/^[0-9]{1,3}$/.test(prefix))) return false;
  const bits = prefix === undefined ? (version === 4 ? 32 : 128) : Number(prefix);
  if (bits > (version === 4 ? 32 : 128)) return false;
  list.addSubnet(address, bits, version === 4 ? 'ipv4' : 'ipv6');
  return true;
}
