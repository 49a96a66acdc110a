/** The same key pairs on every run, so that a find is good for ever. They protect nothing. */

import { createECDH, createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { type KeyAlgorithm, type SigningKey, thumbprint } from '../support/keys.ts';

/** An ES256 or EdDSA pair made of a name. */
export function fixedKey(algorithm: 'ES256' | 'EdDSA', name: string): SigningKey {
  const secret = createHash('sha256').update(`postern fuzz ${algorithm} ${name}`).digest();
  return algorithm === 'ES256' ? p256(secret, name) : ed25519(secret, name);
}

function p256(secret: Buffer, name: string): SigningKey {
  const ecdh = createECDH('prime256v1');
  ecdh.setPrivateKey(secret);
  const point = ecdh.getPublicKey();
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x: point.subarray(1, 33).toString('base64url'),
    y: point.subarray(33).toString('base64url'),
    d: secret.toString('base64url'),
  };
  return pair('ES256', createPrivateKey({ key: jwk, format: 'jwk' }), name);
}

/** RFC 8410 §7: a PKCS #8 envelope around the 32 bytes. */
function ed25519(secret: Buffer, name: string): SigningKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), secret]);
  return pair('EdDSA', createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }), name);
}

function pair(algorithm: KeyAlgorithm, privateKey: ReturnType<typeof createPrivateKey>, name: string): SigningKey {
  const publicJwk = { ...createPublicKey(privateKey).export({ format: 'jwk' }) };
  const privateJwk = { ...privateKey.export({ format: 'jwk' }) };
  return { algorithm, kid: name, jkt: thumbprint(publicJwk), privateKey, publicJwk, privateJwk };
}
