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
  for (const key of ['passwordFile', 'sentinelPasswordFile'] as const) {
    if (store[key] !== undefined) resolved.store[key] = absolute(store[key]);
  }
  for (const key of ['caFile', 'certFile', 'keyFile'] as const) {
    const file = store.tls?.[key];
    if (resolved.store.tls !== undefined && file !== undefined) resolved.store.tls[key] = absolute(file);
  }
  if (proof.nonceSecretFile !== undefined) resolved.proof.nonceSecretFile = absolute(proof.nonceSecretFile);
  if (config.drift.secretFile !== undefined) resolved.drift.secretFile = absolute(config.drift.secretFile);
  if (config.agents.file !== undefined) resolved.agents.file = absolute(config.agents.file);
  for (const issuer of resolved.issuers) {
    const { jwksFile, introspection } = issuer;
    if (jwksFile !== undefined) issuer.jwksFile = absolute(jwksFile);
    if (introspection !== undefined) introspection.clientSecretFile = absolute(introspection.clientSecretFile);
  }
  resolveSignals(resolved.signals, absolute);
  for (const route of resolved.routes) {
    if (route.openapi !== undefined) route.openapi = absolute(route.openapi);
  }
  for (const credential of Object.values(resolved.credentials)) {
    if ('file' in credential.from) credential.from.file = absolute(credential.from.file);
  }
  resolved.rules = config.rules.map(absolute);
  resolved.audit.sinks = audit.sinks.map((sink) => (sink === 'stdout' ? sink : { file: absolute(sink.file) }));
  return resolved;
}

function resolveSignals({ tls, transmitters }: Config['signals'], absolute: (path: string) => string): void {
  if (tls !== undefined) [tls.certFile, tls.keyFile] = [absolute(tls.certFile), absolute(tls.keyFile)];
  for (const transmitter of transmitters) {
    const { push, poll } = transmitter;
    if (push !== undefined) push.tokenFile = absolute(push.tokenFile);
    if (poll !== undefined) poll.tokenFile = absolute(poll.tokenFile);
    if (transmitter.jwksFile !== undefined) transmitter.jwksFile = absolute(transmitter.jwksFile);
  }
}
