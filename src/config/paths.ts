/** Relative paths in a configuration are relative to its file. */

import { resolve } from 'node:path';
import type { Config } from './schema.ts';

/** A copy in which every path is absolute. */
export function resolvePaths(config: Config, folder: string): Config {
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
    const { jwksFile, introspection } = issuer;
    if (jwksFile !== undefined) issuer.jwksFile = absolute(jwksFile);
    if (introspection !== undefined) introspection.clientSecretFile = absolute(introspection.clientSecretFile);
  }
  for (const credential of Object.values(resolved.credentials)) {
    if ('file' in credential.from) credential.from.file = absolute(credential.from.file);
  }
  resolved.rules = config.rules.map(absolute);
  resolved.audit.sinks = audit.sinks.map((sink) => (sink === 'stdout' ? sink : { file: absolute(sink.file) }));
  return resolved;
}
