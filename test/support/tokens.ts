/** Mints RFC 9068 access tokens and DPoP proofs, right by default and wrong wherever a test asks for it. */

import { Buffer } from 'node:buffer';
import { constants, createHash, randomUUID, sign } from 'node:crypto';
import type { Jwk, SigningKey } from './keys.ts';

/** Members to set; undefined takes one away. A string stands for the whole part as raw JSON text. */
export type Changes = Readonly<Record<string, unknown>> | string;

export type JwsOptions = {
  readonly header: Changes;
  readonly payload: Changes;
  readonly key: SigningKey;
  /** Signs with another algorithm than the key's own; `none` signs with nothing. */
  readonly signAs?: string;
};

/** A compact JWS of any header and payload, signed with the key whatever they say. */
export function signJws({ header, payload, key, signAs = key.algorithm }: JwsOptions): string {
  const signed = `${encodePart(header)}.${encodePart(payload)}`;
  return `${signed}.${signature(signed, key, signAs).toString('base64url')}`;
}

export type AccessTokenOptions = {
  readonly issuer: string;
  readonly issuerKey: SigningKey;
  readonly audience: string | readonly string[];
  /** The agent's key: binds the token to it (RFC 9449 §6.1). Without it the token is a plain bearer token. */
  readonly agentKey?: SigningKey | undefined;
  /** base64url(SHA-256(DER)) of the agent's certificate: binds the token to it (RFC 8705 §3.1). */
  readonly certificate?: string | undefined;
  readonly nowMs?: number;
  readonly lifetimeSeconds?: number;
  readonly scope?: string;
  readonly claims?: Changes;
  readonly header?: Changes;
};

/** An access token of client `agent-7` for subject `user-1`. */
export function mintAccessToken(options: AccessTokenOptions): string {
  const { issuer, issuerKey, agentKey, certificate, lifetimeSeconds = 300, nowMs = Date.now() } = options;
  const iat = Math.floor(nowMs / 1000);
  const cnf = { jkt: agentKey?.jkt, 'x5t#S256': certificate };
  const claims = {
    iss: issuer,
    sub: 'user-1',
    client_id: 'agent-7',
    aud: options.audience,
    iat,
    exp: iat + lifetimeSeconds,
    jti: randomUUID(),
    scope: options.scope ?? 'read',
    cnf: agentKey === undefined && certificate === undefined ? undefined : cnf,
  };
  return signJws({
    header: change({ typ: 'at+jwt', alg: issuerKey.algorithm, kid: issuerKey.kid }, options.header),
    payload: change(claims, options.claims),
    key: issuerKey,
  });
}

export type ProofOptions = {
  readonly key: SigningKey;
  readonly method: string;
  readonly url: string;
  readonly accessToken: string;
  readonly nowMs?: number;
  readonly nonce?: string | undefined;
  readonly claims?: Changes;
  readonly header?: Changes;
  readonly signAs?: string;
};

/** A proof for one call. `url` is the public one; query and fragment are left out of htu, as clients do. */
export function mintProof(options: ProofOptions): string {
  const { key, method, url, accessToken, nonce, nowMs = Date.now(), signAs } = options;
  const claims = {
    jti: randomUUID(),
    htm: method,
    htu: url.replace(/[?#].*$/, ''),
    iat: Math.floor(nowMs / 1000),
    ath: sha256(accessToken),
    nonce,
  };
  return signJws({
    header: change({ typ: 'dpop+jwt', alg: key.algorithm, jwk: key.publicJwk }, options.header),
    payload: change(claims, options.claims),
    key,
    ...(signAs === undefined ? {} : { signAs }),
  });
}

/** The two fields of a call: a good access token with the DPoP scheme, and a fresh proof for it. */
export function dpopFields(options: ProofOptions): { authorization: string; dpop: string } {
  return { authorization: `DPoP ${options.accessToken}`, dpop: mintProof(options) };
}

/** base64url(SHA-256(text)). */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** A part of a JWS from an object, or from raw JSON text. */
export function encodePart(part: Changes): string {
  return Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
}

function change(original: Jwk, changes: Changes = {}): Changes {
  return typeof changes === 'string' ? changes : { ...original, ...changes };
}

function signature(signed: string, { privateKey, publicJwk }: SigningKey, algorithm: string): Buffer {
  const data = Buffer.from(signed);
  switch (algorithm) {
    case 'ES256':
    case 'ES384':
      return sign(algorithm === 'ES256' ? 'sha256' : 'sha384', data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    case 'EdDSA':
      return sign(null, data, privateKey);
    case 'PS256':
      return sign('sha256', data, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
    case 'RS256':
      return sign('sha256', data, privateKey);
    case 'none':
      return Buffer.alloc(0);
    default:
      throw new Error(`no way to sign as ${algorithm} with a ${String(publicJwk.kty)} key`);
  }
}
