/** What the schema alone cannot say: pairs that must fit, and files that must be there and hold what they should. */

import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { isLoopback } from '../address.ts';
import type { ConfigurationProblem } from '../errors.ts';
import {
  bearerTokenProblem,
  certificateProblem,
  checkFile,
  checkKeyPair,
  codeOf,
  contextProblem,
  emptyProblem,
  fault,
  isPlainUrl,
  keySetProblem,
  type Path,
} from './check-files.ts';
import { checkSignals } from './check-signals.ts';
import type { Config } from './schema.ts';

const secretBytesMin = 32;

/** `sound` names the sections that are as the file says; where others would be needed to judge, nothing is said. */
export function crossCheck(config: Config, sound: ReadonlySet<string>): readonly ConfigurationProblem[] {
  return [
    ...checkAdmin(config),
    ...checkTls(config),
    ...checkCertificateField(config),
    ...(['listen', 'proof', 'routes'].every((section) => sound.has(section)) ? checkAccept(config) : []),
    ...checkStore(config),
    ...checkSignals(config, sound),
    ...checkFile(['proof', 'nonceSecretFile'], config.proof.nonceSecretFile, secretProblem),
    ...checkFile(['drift', 'secretFile'], config.drift.secretFile, secretProblem),
    ...config.issuers.flatMap((issuer, index) => checkIssuer(config, issuer, index)),
    ...config.audit.sinks.flatMap((sink, index) =>
      sink === 'stdout' ? [] : checkAppendable(['audit', 'sinks', index, 'file'], sink.file),
    ),
  ];
}

const secretProblem = (bytes: Buffer) =>
  bytes.length < secretBytesMin ? `holds fewer than ${secretBytesMin} bytes` : null;

function checkAdmin({ admin }: Config): readonly ConfigurationProblem[] {
  if (admin.tokenFile === undefined) {
    if (isLoopback(admin.address)) return [];
    return [fault(['admin', 'tokenFile'], 'is required, because admin.address is not loopback')];
  }
  return checkFile(['admin', 'tokenFile'], admin.tokenFile, bearerTokenProblem);
}

function checkTls({ listen }: Config): readonly ConfigurationProblem[] {
  const { tls } = listen;
  if (tls === undefined) return [];
  const path = ['listen', 'tls'];
  const isNameless = tls.clientCert === 'require' && tls.clientCaFile === undefined;
  return [
    ...checkKeyPair(path, tls),
    ...checkFile([...path, 'clientCaFile'], tls.clientCaFile, certificateProblem),
    ...(isNameless ? [fault([...path, 'clientCaFile'], 'is required with clientCert: require')] : []),
  ];
}

function checkStore({ store }: Config): readonly ConfigurationProblem[] {
  const { tls } = store;
  return [
    ...checkFile(['store', 'passwordFile'], store.passwordFile, emptyProblem),
    ...checkFile(['store', 'sentinelPasswordFile'], store.sentinelPasswordFile, emptyProblem),
    ...checkFile(['store', 'tls', 'caFile'], tls?.caFile, certificateProblem),
    ...checkFile(['store', 'tls', 'certFile'], tls?.certFile, (cert) => contextProblem({ cert })),
    ...checkFile(['store', 'tls', 'keyFile'], tls?.keyFile, (key) => contextProblem({ key })),
  ];
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
  const problems = [...checkFile([...path, 'clientSecretFile'], introspection.clientSecretFile, emptyProblem)];
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
