/** Client certificates that a TLS-terminating proxy forwards in a field: three formats, each read strictly. */

import { hash, X509Certificate } from 'node:crypto';
import type { ClientCertificate } from '../exchange.ts';

export type CertificateFormat = 'xfcc' | 'client-cert' | 'pem';

/** Null for an empty field, as some proxies send where there is no certificate; a string says what is wrong. */
export type ReadForwardedCertificate = (value: string) => ClientCertificate | null | string;

/** Where each format stands unless configuration says otherwise. */
export const usualFields: Readonly<Record<CertificateFormat, string>> = {
  xfcc: 'x-forwarded-client-cert',
  'client-cert': 'client-cert',
  pem: 'x-client-cert',
};

const readers: Readonly<Record<CertificateFormat, (value: string) => ClientCertificate | string>> = {
  xfcc: readXfcc,
  'client-cert': readByteSequence,
  pem: readEscapedPem,
};

/**
 * Reads one field value from a proxy that is trusted to have seen possession of the certificate's key. Neither validity
 * nor issuer is looked at: the proxy has done so, or a self-signed certificate binds as well as any (RFC 8705 §2.2).
 */
export function createReadForwardedCertificate(format: CertificateFormat): ReadForwardedCertificate {
  const read = readers[format];
  return (value) => (value === '' ? null : read(value));
}

const sha256Hex = /^[0-9a-fA-F]{64}$/;

/** Envoy's x-forwarded-client-cert: pairs by semicolon, elements by comma, values in quotes where they hold either. */
function readXfcc(value: string): ClientCertificate | string {
  let digest: string | null = null;
  let uri: string | null = null;
  let from = 0;
  for (;;) {
    const equals = value.indexOf('=', from);
    if (equals < 0) return 'a pair without an equals sign';
    const key = value.slice(from, equals).trim().toLowerCase();
    const read = readValue(value, equals + 1);
    if (read === null) return 'a quoted value that does not end';
    if (key === 'hash') {
      if (digest !== null) return 'more than one Hash';
      digest = read.text;
    }
    // Envoy writes one pair for each name. As with a certificate of this connection, the first one counts.
    if (key === 'uri' && read.text !== '') uri ??= read.text;
    if (read.end === value.length) break;
    // Each element stands for one hop. Of several, the last one is an inner proxy's and the others anybody's.
    if (value[read.end] === ',') return 'more than one element; let the proxy replace the field, not append to it';
    if (value[read.end] !== ';') return 'text after a quoted value';
    from = read.end + 1;
    if (from === value.length) break;
  }
  if (digest === null || !sha256Hex.test(digest)) return 'no Hash of 64 hex digits';
  // RFC 8705 §3.1: the same SHA-256 over the DER encoding, in the spelling of x5t#S256.
  return { thumbprint: Buffer.from(digest, 'hex').toString('base64url'), uriSan: uri };
}

/** A value with or without quotes, and where what follows it begins; null for a quoted one that does not end. */
function readValue(text: string, from: number): { readonly text: string; readonly end: number } | null {
  if (text[from] !== '"') {
    let end = from;
    while (end < text.length && text[end] !== ';' && text[end] !== ',') end++;
    return { text: text.slice(from, end).trim(), end };
  }
  let value = '';
  for (let index = from + 1; index < text.length; index++) {
    if (text[index] === '"') return { text: value, end: index + 1 };
    if (text[index] === '\\') index++;
    value += text[index] ?? '';
  }
  return null;
}

/** RFC 9440 §2.1: an RFC 8941 Byte Sequence of the DER encoding. Stricter: without parameters. */
function readByteSequence(value: string): ClientCertificate | string {
  const isSequence = value.length > 2 && value.startsWith(':') && value.endsWith(':');
  return isSequence ? certificateOf(value.slice(1, -1)) : 'no byte sequence';
}

const pemBegin = '-----BEGIN CERTIFICATE-----';
const pemEnd = '-----END CERTIFICATE-----';

/** nginx's $ssl_client_escaped_cert and its like: URL-encoded PEM. A plus is a plus, for base64 has them. */
function readEscapedPem(value: string): ClientCertificate | string {
  let pem: string;
  try {
    pem = decodeURIComponent(value).trim();
  } catch {
    return 'no URL-encoded text';
  }
  if (!pem.startsWith(pemBegin) || !pem.endsWith(pemEnd)) return 'no PEM certificate';
  // Which one of several is the client's is not agreed on. A dash is no base64, so a second one is refused below.
  return certificateOf(pem.slice(pemBegin.length, -pemEnd.length).replace(/\s/g, ''));
}

/** Base64 in its one canonical form, of one certificate and nothing else. */
function certificateOf(base64: string): ClientCertificate | string {
  const der = Buffer.from(base64, 'base64');
  if (der.toString('base64') !== base64) return 'base64 that is not canonical';
  try {
    // What follows a certificate would be hashed with it.
    if (!new X509Certificate(der).raw.equals(der)) return 'more than one certificate';
  } catch {
    return 'no certificate';
  }
  // Nobody says here whether an authority vouches for it, so the names in it are not believed.
  return { thumbprint: hash('sha256', der, 'base64url'), uriSan: null };
}
