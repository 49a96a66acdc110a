/** A configuration that is good as it stands, in a folder of its own, for tests that change one thing about it. */

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { createKey, publishedJwk } from '../support/keys.ts';
import { mintAccessToken, mintProof } from '../support/tokens.ts';

const issuer = 'https://login.example';
const publicOrigin = 'https://api.agents.example';
const issuerKey = createKey('ES256');
const agentKey = createKey('ES256');

export const secretText = 'sk-upstream-0123456789abcdef';

export type ConfigurationFile = {
  readonly folder: string;
  readonly file: string;
  /** Writes beside the configuration; gives the whole path. */
  readonly write: (name: string, text: string) => string;
};

export const goodRules = `rules:
  - id: everyone-reads
    when: request.method == "GET"
    effect: allow
`;

/** `changes` are merged over the top level; a section that is undefined is left out. */
export function writeConfiguration(changes: Readonly<Record<string, unknown>> = {}): ConfigurationFile {
  const folder = mkdtempSync(join(tmpdir(), 'postern-cli-'));
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  write('secret', `${secretText}\n`);
  write('jwks.json', JSON.stringify({ keys: [publishedJwk(issuerKey)] }));
  write('rules.yaml', goodRules);
  const configuration = {
    listen: { address: '127.0.0.1:0', publicOrigin },
    admin: { address: '127.0.0.1:0' },
    issuers: [{ issuer, jwksFile: 'jwks.json' }],
    routes: [routeTo('http://127.0.0.1:1')],
    credentials: { 'api-key': { from: { file: 'secret' }, inject: { header: 'authorization' } } },
    rules: ['rules.yaml'],
    audit: { sinks: [{ file: 'audit.jsonl' }] },
    shutdown: { delay: '0s', deadline: '5s' },
    ...changes,
  };
  return { folder, file: write('postern.yaml', stringify(configuration)), write };
}

/** A route to an upstream on this machine. */
export function routeTo(upstream: string): object {
  return { name: 'api', match: { pathPrefix: '/api/' }, upstream, audience: publicOrigin, credential: 'api-key' };
}

/** Fields of a good GET, with a token and a proof of its own. */
export function goodFields(path: string): { readonly authorization: string; readonly dpop: string } {
  const accessToken = mintAccessToken({ issuer, issuerKey, audience: publicOrigin, agentKey, scope: 'read' });
  const dpop = mintProof({
    key: agentKey,
    method: 'GET',
    url: `${publicOrigin}${path}`,
    accessToken,
    nowMs: Date.now(),
  });
  return { authorization: `DPoP ${accessToken}`, dpop };
}
