/** Where an issuer's JWK Set comes from: a file, an address, or the issuer's own metadata. */

import type { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { type Dispatcher, request } from 'undici';
import { Fault } from '../errors.ts';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';
import { contentTypeOf, discardResponseBody, readResponseBody } from '../whole-body.ts';

/** Discovery by the metadata of an authorization server, or of a transmitter of security events. */
export type Discovery = 'discovery' | 'ssf-discovery';
export type KeySource = { readonly jwksFile: string } | { readonly jwksUri: string } | Discovery;

/** Gets the JWK Set document. Rejects with a Fault that says what is wrong and where. */
export type LoadKeys = () => Promise<Buffer>;

export type KeySourceOptions = {
  readonly issuer: string;
  readonly source: KeySource;
  readonly dispatcher: Dispatcher;
  /** For all documents together, from connecting to the last byte. */
  readonly timeoutMs: number;
};

const documentBytesMax = 256 * 1024;

/** Prepares the loading of one issuer's keys. */
export function createLoadKeys({ issuer, source, dispatcher, timeoutMs }: KeySourceOptions): LoadKeys {
  if (typeof source !== 'string' && 'jwksFile' in source) return () => readDocument(source.jwksFile);
  const addresses = typeof source === 'string' ? metadataAddresses(issuer, source) : [];
  return async () => {
    const signal = AbortSignal.timeout(timeoutMs);
    const get = (url: string) => fetchDocument(url, dispatcher, signal);
    return get(typeof source === 'string' ? await discoverJwksUri(issuer, addresses, get) : source.jwksUri);
  };
}

/**
 * RFC 8414 §3.1: the well-known part goes between host and path. OpenID Connect Discovery 1.0 §4: it is appended.
 * Both remove a slash at the end of the issuer first. OpenID Shared Signals 1.0 §7.2: as RFC 8414, with its own name.
 */
export function metadataAddresses(issuer: string, discovery: Discovery = 'discovery'): readonly string[] {
  const url = URL.canParse(issuer) ? new URL(issuer) : null;
  const isPlain = url !== null && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if (!isPlain || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new Fault('issuer_url', `Issuer ${issuer} is no plain http or https URL; give it a jwksUri or a jwksFile.`);
  }
  const path = url.pathname.endsWith('/') ? url.pathname.slice(0, -1) : url.pathname;
  if (discovery === 'ssf-discovery') return [`${url.origin}/.well-known/ssf-configuration${path}`];
  return [
    `${url.origin}/.well-known/oauth-authorization-server${path}`,
    `${url.origin}${path}/.well-known/openid-configuration`,
  ];
}

async function discoverJwksUri(
  issuer: string,
  addresses: readonly string[],
  get: (url: string) => Promise<Buffer>,
): Promise<string> {
  const problems: string[] = [];
  for (const address of addresses) {
    try {
      return readMetadata(await get(address), address, issuer);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      problems.push(error.message);
    }
  }
  throw new Fault('issuer_metadata', problems.join(' '));
}

function readMetadata(document: Buffer, address: string, issuer: string): string {
  const metadata = parseStrictJsonBytes(document, { maxDepth: 16 });
  if (!isJsonObject(metadata)) throw new Fault('issuer_metadata', `${address} is not a JSON object.`);
  const { issuer: named, jwks_uri: jwksUri } = metadata;
  // RFC 8414 §3.3: identical, else one issuer could speak for another.
  if (named !== issuer) throw new Fault('issuer_metadata', `${address} is the metadata of another issuer.`);
  if (typeof jwksUri !== 'string' || !URL.canParse(jwksUri)) {
    throw new Fault('issuer_metadata', `${address} has no jwks_uri.`);
  }
  // RFC 8414 §2: https. Plain http is taken from an issuer that is itself configured without TLS, and from no other.
  const { protocol } = new URL(jwksUri);
  if (protocol !== 'https:' && !(protocol === 'http:' && issuer.startsWith('http:'))) {
    throw new Fault('issuer_metadata', `${address} has a jwks_uri that is not https.`);
  }
  return jwksUri;
}

/** Follows no redirect: keys come from the place that was configured, or whose issuer vouches for it. */
async function fetchDocument(url: string, dispatcher: Dispatcher, signal: AbortSignal): Promise<Buffer> {
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher,
      signal,
      method: 'GET',
      headers: { accept: 'application/json, application/jwk-set+json' },
    });
    const problem = answerProblem(statusCode, headers['content-type']);
    if (problem !== null) {
      discardResponseBody(body);
      throw new Fault('issuer_fetch', `${url} ${problem}.`);
    }
    return await readBody(body, url);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('issuer_fetch', `${url} ${signal.aborted ? 'took too long' : 'could not be fetched'}.`, error);
  }
}

function answerProblem(status: number, contentType: string | string[] | undefined): string | null {
  if (status !== 200) return `answered ${status}`;
  const type = contentTypeOf(contentType);
  return type === 'application/json' || type.endsWith('+json') ? null : 'is not served as JSON';
}

async function readBody(body: Dispatcher.ResponseData['body'], url: string): Promise<Buffer> {
  const document = await readResponseBody(body, documentBytesMax);
  if (document !== null) return document;
  throw new Fault('issuer_fetch', `${url} is larger than ${documentBytesMax} bytes.`);
}

async function readDocument(path: string): Promise<Buffer> {
  let document: Buffer;
  try {
    document = await readFile(path);
  } catch (error) {
    throw new Fault('issuer_file', `Key file ${path} could not be read.`, error);
  }
  if (document.length <= documentBytesMax) return document;
  throw new Fault('issuer_file', `Key file ${path} is larger than ${documentBytesMax} bytes.`);
}
