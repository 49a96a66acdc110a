/** What the schema alone cannot say: pairs that must fit, and files that must be there and hold what they should. */

import { X509Certificate } from 'node:crypto';
import { accessSync, closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { createSecureContext } from 'node:tls';
import { isLoopback } from '../address.ts';
import type { ConfigurationProblem } from '../errors.ts';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';
import type { Config } from './schema.ts';

type Path = readonly (string | number)[];

const fileBytesMax = 1_048_576;
const adminTokenCharsMin = 16;
const nonceSecretBytesMin = 32;

/** `sound` names the sections that are as the file says; where others would be needed to judge, nothing is said. */
export function crossCheck(config: Config, sound: ReadonlySet<string>): readonly ConfigurationProblem[] {
  return [
    ...checkAdmin(config),
    ...checkTls(config),
    ...checkCertificateField(config),
    ...(['listen', 'proof', 'routes'].every((section) => sound.has(section)) ? checkAccept(config) : []),
    ...checkFile(['store', 'passwordFile'], config.store.passwordFile, (bytes) =>
      bytes.toString('utf8').trim() === '' ? 'is empty' : null,
    ),
    ...checkFile(['proof', 'nonceSecretFile'], config.proof.nonceSecretFile, (bytes) =>
      bytes.length < nonceSecretBytesMin ? `holds fewer than ${nonceSecretBytesMin} bytes` : null,
    ),
    ...config.issuers.flatMap((issuer, index) => checkIssuer(config, issuer, index)),
    ...config.audit.sinks.flatMap((sink, index) =>
      sink === 'stdout' ? [] : checkAppendable(['audit', 'sinks', index, 'file'], sink.file),
    ),
  ];
}

const fault = (path: Path, message: string): ConfigurationProblem => ({ path, message });

function checkAdmin({ admin }: Config): readonly ConfigurationProblem[] {
  if (admin.tokenFile === undefined) {
    if (isLoopback(admin.address)) return [];
    return [fault(['admin', 'tokenFile'], 'is required, because admin.address is not loopback')];
  }
  return checkFile(['admin', 'tokenFile'], admin.tokenFile, (bytes) => {
    const token = bytes.toString('latin1').trim();
    // RFC 6750 §2.1: more than this no Authorization field can carry.
    if (!/^[\x21-\x7e]*$/.test(token)) return 'must hold one word of printable ASCII';
    return token.length < adminTokenCharsMin
      ? `holds a token shorter than ${adminTokenCharsMin} characters; use a random one`
      : null;
  });
}

function checkTls({ listen }: Config): readonly ConfigurationProblem[] {
  const { tls } = listen;
  if (tls === undefined) return [];
  const path = ['listen', 'tls'];
  const problems = [
    ...checkFile([...path, 'certFile'], tls.certFile, (cert) => contextProblem({ cert })),
    ...checkFile([...path, 'keyFile'], tls.keyFile, (key) => contextProblem({ key })),
    ...checkFile([...path, 'clientCaFile'], tls.clientCaFile, certificateProblem),
  ];
  if (tls.clientCert === 'require' && tls.clientCaFile === undefined) {
    problems.push(fault([...path, 'clientCaFile'], 'is required with clientCert: require'));
  }
  if (problems.length > 0) return problems;
  const [cert, key] = [readBounded(tls.certFile), readBounded(tls.keyFile)];
  if (typeof cert === 'string' || typeof key === 'string' || contextProblem({ cert, key }) === null) return [];
  return [fault([...path, 'keyFile'], 'is not the key of the certificate in certFile')];
}

function contextProblem(parts: { cert?: Buffer; key?: Buffer }): string | null {
  try {
    createSecureContext(parts);
    return null;
  } catch (cause) {
    return `holds no PEM that can be used (${codeOf(cause)})`;
  }
}

/** A secure context would pass over an authority that it can't read, and trust nobody. */
function certificateProblem(bytes: Buffer): string | null {
  try {
    new X509Certificate(bytes);
    return null;
  } catch (cause) {
    return `holds no PEM that can be used (${codeOf(cause)})`;
  }
}

/** Request fields that mean something else to Postern itself. */
const fieldsInUse = ['authorization', 'dpop', 'host', 'cookie', 'origin', 'connection', 'expect', 'x-forwarded-for'];

function checkCertificateField({ listen, reason }: Config): readonly ConfigurationProblem[] {
  const { clientCertificateField, trustedProxies } = listen;
  if (clientCertificateField === undefined) return [];
  const path = ['listen', 'clientCertificateField'];
  const { field } = clientCertificateField;
  const isTaken = field !== undefined && [...fieldsInUse, reason.header].includes(field);
  return [
    ...(trustedProxies.length > 0
      ? []
      : [fault(path, 'is believed from listen.trustedProxies only, and there are none')]),
    ...(isTaken ? [fault([...path, 'field'], 'is a field with another meaning')] : []),
  ];
}

function checkAccept({ listen, proof, routes }: Config): readonly ConfigurationProblem[] {
  if (listen.tls !== undefined && listen.tls.clientCert !== 'none') return [];
  if (listen.clientCertificateField !== undefined) return [];
  const onlyMtls = (accept: readonly string[]) => accept.length === 1 && accept[0] === 'mtls';
  const message = 'accepts only mtls, but listen.tls.clientCert asks for no certificate';
  const inRoutes = routes.flatMap((route, index) =>
    route.accept !== undefined && onlyMtls(route.accept) ? [fault(['routes', index, 'accept'], message)] : [],
  );
  return onlyMtls(proof.accept) ? [fault(['proof', 'accept'], message), ...inRoutes] : inRoutes;
}

function checkIssuer(
  { issuers }: Config,
  { issuer, jwksFile, jwksUri, dialect, introspection }: Config['issuers'][number],
  index: number,
): readonly ConfigurationProblem[] {
  const path = ['issuers', index];
  const problems = [
    ...checkFile([...path, 'jwksFile'], jwksFile, keySetProblem),
    ...checkIntrospection(path, issuer, introspection),
  ];
  // An opaque token does not say whose it is, and asking several issuers would show each the others' tokens.
  if (introspection !== undefined && issuers.findIndex((other) => other.introspection !== undefined) < index) {
    problems.push(fault([...path, 'introspection'], 'is declared for another issuer already; only one can have it'));
  }
  // Okta: what its own (organization) authorization server issues is for Okta's APIs and is not to be validated by others.
  if (dialect === 'okta' && !(URL.canParse(issuer) && new URL(issuer).pathname.startsWith('/oauth2/'))) {
    const message = 'is no custom authorization server of Okta, such as https://example.okta.com/oauth2/default';
    problems.push(fault([...path, 'issuer'], message));
  }
  if (issuers.findIndex((other) => other.issuer === issuer) < index) {
    problems.push(fault([...path, 'issuer'], 'is declared twice'));
  }
  if (jwksFile === undefined && jwksUri === undefined && !isPlainUrl(issuer)) {
    problems.push(fault([...path, 'issuer'], 'is no plain http or https URL; give it a jwksUri or a jwksFile'));
  }
  return problems;
}

function checkIntrospection(
  issuerPath: Path,
  issuer: string,
  introspection: Config['issuers'][number]['introspection'],
): readonly ConfigurationProblem[] {
  if (introspection === undefined) return [];
  const path = [...issuerPath, 'introspection'];
  const problems = [
    ...checkFile([...path, 'clientSecretFile'], introspection.clientSecretFile, (bytes) =>
      bytes.toString('utf8').trim() === '' ? 'is empty' : null,
    ),
  ];
  const { protocol, host, username, password, hash } = new URL(introspection.url);
  if (username + password + hash !== '') {
    problems.push(fault([...path, 'url'], 'must have no credentials and no fragment'));
  }
  // RFC 7662 §4: tokens and our secret travel over it. Without TLS only where the issuer itself has none, or on loopback.
  if (protocol === 'http:' && !issuer.startsWith('http:') && !isLoopback(`${host.replace(/:\d+$/, '')}:80`)) {
    problems.push(fault([...path, 'url'], 'must be https'));
  }
  return problems;
}

/** Discovery (RFC 8414 §3) starts from the issuer's own URL. */
function isPlainUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, search, hash, username, password } = new URL(text);
  return (protocol === 'https:' || protocol === 'http:') && search + hash + username + password === '';
}

function keySetProblem(bytes: Buffer): string | null {
  const value = parseStrictJsonBytes(bytes, { maxDepth: 16 });
  // RFC 7517 §5.
  return isJsonObject(value) && Array.isArray(value.keys) && value.keys.length > 0 ? null : 'holds no JSON Web Key Set';
}

function checkFile(
  path: Path,
  file: string | undefined,
  problemOf: (bytes: Buffer) => string | null,
): readonly ConfigurationProblem[] {
  if (file === undefined) return [];
  const bytes = readBounded(file);
  const problem = typeof bytes === 'string' ? bytes : problemOf(bytes);
  return problem === null ? [] : [fault(path, problem)];
}

/** The bytes, or why there are none. Never waits: without O_NONBLOCK, opening a pipe waits for its writer. */
function readBounded(file: string): Buffer | string {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(descriptor).isFile()) return 'is not a regular file';
    const buffer = Buffer.alloc(fileBytesMax + 1);
    const length = readSync(descriptor, buffer, 0, buffer.length, 0);
    return length > fileBytesMax ? 'is larger than 1 MiB' : buffer.subarray(0, length);
  } catch (error) {
    return `cannot be read (${codeOf(error)})`;
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

/** Looks without creating anything. */
function checkAppendable(path: Path, file: string): readonly ConfigurationProblem[] {
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found?.isDirectory() === true) return [fault(path, 'is a folder')];
    accessSync(found === undefined ? dirname(file) : file, constants.W_OK);
    return [];
  } catch (error) {
    return [fault(path, `cannot be appended to (${codeOf(error)}); check the folder and its permissions`)];
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown fault';
}
