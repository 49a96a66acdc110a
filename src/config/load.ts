/** From postern.yaml to a vetted Config, or to every problem that stands in the way. */

import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isLoopback } from '../address.ts';
import { ConfigurationFault, type ConfigurationProblem, type Problem } from '../errors.ts';
import { pathName, readYaml, vetYaml } from '../yaml-source.ts';
import { type Config, configSchema } from './schema.ts';

/** A configuration and the file it came from, so that later findings can be placed in that file too. */
export type Configuration = {
  readonly config: Config;
  readonly file: string;
  readonly placeOf: (path: readonly (string | number)[]) => { readonly line?: number; readonly column?: number };
};

/** Reads, vets and resolves a configuration file. Throws ConfigurationFault with all problems found. */
export async function loadConfig(file: string): Promise<Configuration> {
  const source = await readYaml(file);
  if (isProblems(source)) throw new ConfigurationFault(source);
  const vetted = vetYaml(source, configSchema);
  if (isProblems(vetted))
    throw new ConfigurationFault(vetted.toSorted((one, other) => (one.line ?? 0) - (other.line ?? 0)));
  const configuration = {
    config: resolvePaths(vetted.value, dirname(resolve(file))),
    file,
    placeOf: (path: readonly (string | number)[]) => source.placeOf(path),
  };
  failOn(configuration, crossCheck(configuration.config));
  return configuration;
}

/** Throws ConfigurationFault with each problem at its place, if there are any. */
export function failOn(
  configuration: Configuration,
  problems: readonly ConfigurationProblem[],
  others: readonly Problem[] = [],
): void {
  const { file, placeOf } = configuration;
  const placed = problems.map(({ path, message }) => ({
    file,
    ...placeOf(path),
    message: `${pathName(path)} ${message}`,
  }));
  const all = [...placed.toSorted((one, other) => (one.line ?? 0) - (other.line ?? 0)), ...others];
  if (all.length > 0) throw new ConfigurationFault(all);
}

function isProblems(value: object): value is readonly Problem[] {
  return Array.isArray(value);
}

/** Relative paths in a configuration are relative to its file. */
function resolvePaths(config: Config, folder: string): Config {
  const absolute = (path: string) => resolve(folder, path);
  const { listen, admin, store, proof, audit } = config;
  const resolved = structuredClone(config);
  if (listen.tls !== undefined) {
    const { certFile, keyFile, clientCaFile } = listen.tls;
    resolved.listen.tls = { ...listen.tls, certFile: absolute(certFile), keyFile: absolute(keyFile) };
    if (clientCaFile !== undefined) resolved.listen.tls.clientCaFile = absolute(clientCaFile);
  }
  if (admin.tokenFile !== undefined) resolved.admin.tokenFile = absolute(admin.tokenFile);
  if (store.passwordFile !== undefined) resolved.store.passwordFile = absolute(store.passwordFile);
  if (proof.nonceSecretFile !== undefined) resolved.proof.nonceSecretFile = absolute(proof.nonceSecretFile);
  for (const issuer of resolved.issuers) {
    if (issuer.jwksFile !== undefined) issuer.jwksFile = absolute(issuer.jwksFile);
  }
  for (const credential of Object.values(resolved.credentials)) {
    if ('file' in credential.from) credential.from.file = absolute(credential.from.file);
  }
  resolved.rules = config.rules.map(absolute);
  resolved.audit.sinks = audit.sinks.map((sink) => (sink === 'stdout' ? sink : { file: absolute(sink.file) }));
  return resolved;
}

/** What the schema alone cannot say: pairs that must fit, files that must be readable. */
function crossCheck(config: Config): readonly ConfigurationProblem[] {
  return [
    ...checkAdmin(config),
    ...checkListen(config),
    ...repeated(config.issuers.map((issuer) => issuer.issuer)).map((index) =>
      fault(['issuers', index, 'issuer'], 'is declared twice'),
    ),
    ...files(config).flatMap(({ path, file }) =>
      unreadable(file).map((code) => fault(path, `cannot be read (${code})`)),
    ),
  ];
}

const fault = (path: readonly (string | number)[], message: string): ConfigurationProblem => ({ path, message });

function checkAdmin({ admin }: Config): readonly ConfigurationProblem[] {
  if (admin.tokenFile !== undefined || isLoopback(admin.address)) return [];
  return [fault(['admin', 'tokenFile'], 'is required, because admin.address is not loopback')];
}

function checkListen({ listen, proof, routes }: Config): readonly ConfigurationProblem[] {
  const asksCertificate = listen.tls !== undefined && listen.tls.clientCert !== 'none';
  if (listen.tls?.clientCert === 'require' && listen.tls.clientCaFile === undefined) {
    return [fault(['listen', 'tls', 'clientCaFile'], 'is required with clientCert: require')];
  }
  const onlyMtls = (accept: readonly string[]) => accept.length === 1 && accept[0] === 'mtls';
  if (asksCertificate) return [];
  const message = 'accepts only mtls, but listen.tls.clientCert asks for no certificate';
  const inRoutes = routes.flatMap((route, index) =>
    route.accept !== undefined && onlyMtls(route.accept) ? [fault(['routes', index, 'accept'], message)] : [],
  );
  return onlyMtls(proof.accept) ? [fault(['proof', 'accept'], message), ...inRoutes] : inRoutes;
}

function files(config: Config): readonly { path: (string | number)[]; file: string }[] {
  const { tls } = config.listen;
  const named: [(string | number)[], string | undefined][] = [
    [['listen', 'tls', 'certFile'], tls?.certFile],
    [['listen', 'tls', 'keyFile'], tls?.keyFile],
    [['listen', 'tls', 'clientCaFile'], tls?.clientCaFile],
    [['admin', 'tokenFile'], config.admin.tokenFile],
    [['store', 'passwordFile'], config.store.passwordFile],
    [['proof', 'nonceSecretFile'], config.proof.nonceSecretFile],
    ...config.issuers.map((issuer, index): [(string | number)[], string | undefined] => [
      ['issuers', index, 'jwksFile'],
      issuer.jwksFile,
    ]),
  ];
  return named.flatMap(([path, file]) => (file === undefined ? [] : [{ path, file }]));
}

function unreadable(file: string): readonly string[] {
  try {
    readFileSync(file);
    return [];
  } catch (error) {
    return [typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : 'unknown error'];
  }
}

/** Indexes of the values that stood earlier in the list. */
function repeated(values: readonly string[]): readonly number[] {
  return values.flatMap((value, index) => (values.indexOf(value) < index ? [index] : []));
}
