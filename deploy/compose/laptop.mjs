// What a laptop lacks: an issuer and an agent.
//
//   node laptop.mjs setup [FOLDER]                        makes the secrets and keys that compose.yaml mounts
//   node laptop.mjs call METHOD URL [SCOPE] [FOLDER]      makes a token and a proof, and calls through Postern
//
// Here the issuer's key lies beside the agent's, so whoever runs this can make any token: never do so in production.

import { randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateProof } from 'dpop';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, SignJWT } from 'jose';

const issuer = 'https://issuer.laptop.example';
const [, , command, ...words] = process.argv;

if (command === 'setup') await setup(words[0]);
else if (command === 'call' && words.length >= 2) await call(...words);
else {
  process.stderr.write('usage: node laptop.mjs setup [FOLDER] | call METHOD URL [SCOPE] [FOLDER]\n');
  process.exitCode = 2;
}

/** Makes what is missing, and changes nothing that is there. */
async function setup(folder = join(import.meta.dirname, 'secrets')) {
  // Containers run as other users and must read the files, so it is the folder that keeps this machine's others out.
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o700);
  for (const name of ['admin-token', 'api-key', 'grafana-password']) {
    make(folder, name, 0o644, randomBytes(32).toString('base64url'));
  }
  const issuerKey = await makeKey(folder, 'issuer-key.json');
  await makeKey(folder, 'agent-key.json');
  make(folder, 'jwks.json', 0o644, JSON.stringify({ keys: [publicPart(issuerKey)] }));
  process.stdout.write(`secrets and keys are in ${folder}\n`);
}

function make(folder, name, mode, content) {
  const file = join(folder, name);
  if (existsSync(file)) return;
  writeFileSync(file, content, { flag: 'wx' });
  // The umask may have taken bits away.
  chmodSync(file, mode);
}

async function makeKey(folder, name) {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = await exportJWK(privateKey);
  make(
    folder,
    name,
    0o600,
    JSON.stringify({ ...jwk, alg: 'ES256', use: 'sig', kid: await calculateJwkThumbprint(jwk) }),
  );
  return readKey(folder, name);
}

function readKey(folder, name) {
  return JSON.parse(readFileSync(join(folder, name), 'utf8'));
}

function publicPart({ d: _private, ...rest }) {
  return rest;
}

async function call(method, target, scope = 'orders:read', folder = join(import.meta.dirname, 'secrets')) {
  const url = new URL(target);
  // What Postern is called, as proof and token name it; the request itself may go to another port of this machine.
  const publicOrigin = 'http://localhost:8080';
  const agentKey = readKey(folder, 'agent-key.json');
  const accessToken = await mintAccessToken(readKey(folder, 'issuer-key.json'), agentKey, publicOrigin, scope);
  const keyPair = {
    privateKey: await importJWK(agentKey, 'ES256'),
    publicKey: await importJWK(publicPart(agentKey), 'ES256', { extractable: true }),
  };
  const proof = await generateProof(keyPair, `${publicOrigin}${url.pathname}`, method, undefined, accessToken);
  const response = await fetch(url, {
    method,
    headers: { authorization: `DPoP ${accessToken}`, dpop: proof },
    redirect: 'manual',
    signal: AbortSignal.timeout(30_000),
  });
  process.stderr.write(`${response.status} postern-decision: ${response.headers.get('postern-decision')}\n`);
  process.stdout.write(await response.text());
  process.exitCode = response.ok ? 0 : 1;
}

/** An access token as RFC 9068 has it, bound to the agent's key (RFC 9449 §6.1). */
async function mintAccessToken(issuerKey, agentKey, audience, scope) {
  return new SignJWT({ client_id: 'laptop-agent', scope, cnf: { jkt: await calculateJwkThumbprint(agentKey) } })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: issuerKey.kid })
    .setIssuer(issuer)
    .setSubject('laptop-agent')
    .setAudience(audience)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(await importJWK(issuerKey, 'ES256'));
}
