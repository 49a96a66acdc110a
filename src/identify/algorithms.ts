/** What a JWS algorithm asks of a key (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2). Asymmetric signatures only. */

export type AlgorithmFit = { readonly kty: 'EC' | 'OKP' | 'RSA'; readonly crv: string | null };

const fits: ReadonlyMap<string, AlgorithmFit> = new Map<string, AlgorithmFit>([
  ['ES256', { kty: 'EC', crv: 'P-256' }],
  ['ES384', { kty: 'EC', crv: 'P-384' }],
  ['ES512', { kty: 'EC', crv: 'P-521' }],
  ['EdDSA', { kty: 'OKP', crv: 'Ed25519' }],
  ['Ed25519', { kty: 'OKP', crv: 'Ed25519' }],
  ['PS256', { kty: 'RSA', crv: null }],
  ['PS384', { kty: 'RSA', crv: null }],
  ['PS512', { kty: 'RSA', crv: null }],
  ['RS256', { kty: 'RSA', crv: null }],
  ['RS384', { kty: 'RSA', crv: null }],
  ['RS512', { kty: 'RSA', crv: null }],
]);

/** The kind of key that an algorithm works with; null for `none`, HMAC and whatever else is not known here. */
export function keyFitOf(algorithm: string): AlgorithmFit | null {
  return fits.get(algorithm) ?? null;
}

/** RFC 9864 §2.2: Ed25519 is the full name of what EdDSA means with that curve, so allowing one allows both. */
export function allowedAlgorithms(algorithms: readonly string[]): ReadonlySet<string> {
  const allowed = new Set(algorithms.filter((algorithm) => fits.has(algorithm)));
  if (allowed.has('EdDSA') || allowed.has('Ed25519')) allowed.add('EdDSA').add('Ed25519');
  return allowed;
}

/** Whether two algorithm names mean the same thing. */
export function isSameAlgorithm(left: string, right: string): boolean {
  return left === right || (keyFitOf(left)?.kty === 'OKP' && keyFitOf(right)?.kty === 'OKP');
}
