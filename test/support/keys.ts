/** Real key pairs for issuers and agents. */

import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';

export type KeyAlgorithm = 'ES256' | 'ES384' | 'EdDSA' | 'PS256' | 'RS256';
export type Jwk = Record<string, unknown>;

export type SigningKey = {
  readonly algorithm: KeyAlgorithm;
  readonly kid: string;
  /** RFC 7638 thumbprint. */
  readonly jkt: string;
  readonly privateKey: KeyObject;
  /** The bare public key, as a proof carries it. */
  readonly publicJwk: Jwk;
  readonly privateJwk: Jwk;
};

export type KeyOptions = {
  readonly kid?: string;
  /** RSA only. */
  readonly modulusLength?: number;
  readonly publicExponent?: number;
};

let made = 0;

/** A fresh key pair. RSA pairs take a while to make: share them within a test file. */
export function createKey(algorithm: KeyAlgorithm = 'ES256', options: KeyOptions = {}): SigningKey {
  const { publicKey, privateKey } = generate(algorithm, options);
  const publicJwk: Jwk = { ...publicKey.export({ format: 'jwk' }) };
  made += 1;
  return {
    algorithm,
    kid: options.kid ?? `key-${made}`,
    jkt: thumbprint(publicJwk),
    privateKey,
    publicJwk,
    privateJwk: { ...privateKey.export({ format: 'jwk' }) },
  };
}

/** As an issuer publishes it (RFC 7517 §4). */
export function publishedJwk(key: SigningKey, members: Jwk = {}): Jwk {
  return { ...key.publicJwk, kid: key.kid, use: 'sig', alg: key.algorithm, ...members };
}

/** RFC 7638 §3, independent of the code under test. */
export function thumbprint(jwk: Jwk): string {
  const required =
    jwk.kty === 'RSA' ? ['e', 'kty', 'n'] : jwk.kty === 'EC' ? ['crv', 'kty', 'x', 'y'] : ['crv', 'kty', 'x'];
  const members = Object.fromEntries(required.map((name) => [name, jwk[name]]));
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url');
}

function generate(algorithm: KeyAlgorithm, { modulusLength = 2048, publicExponent = 65_537 }: KeyOptions) {
  switch (algorithm) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' });
    case 'ES384':
      return generateKeyPairSync('ec', { namedCurve: 'P-384' });
    case 'EdDSA':
      return generateKeyPairSync('ed25519');
    case 'PS256':
    case 'RS256':
      return generateKeyPairSync('rsa', { modulusLength, publicExponent });
  }
}
