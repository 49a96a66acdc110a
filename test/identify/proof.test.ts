import { sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createNonces } from '../../src/identify/nonce.ts';
import { createTestClock } from '../support/clock.ts';
import { createKey, type SigningKey } from '../support/keys.ts';
import { encodePart, sha256 } from '../support/tokens.ts';
import {
  acceptance,
  accessToken,
  clock,
  context,
  ed25519,
  key,
  mint,
  origin,
  p384,
  refusal,
  rsa,
  verifierWith,
  verifyProof,
} from './proof-setup.ts';

describe('a good proof', () => {
  it.each([
    ['ES256', key],
    ['EdDSA', ed25519],
    ['PS256', rsa],
  ] as const)('is accepted with %s, twice with the key kept from the first time', async (_, agentKey) => {
    const verify = verifierWith();
    const where = context({ jkt: agentKey.jkt });
    await acceptance(mint({ key: agentKey }), where, verify);
    await acceptance(mint({ key: agentKey }), where, verify);
    await refusal(mint({ key: agentKey, claims: { htm: 'GET' } }), 'htm', where, verify);
  });

  it('is accepted with ES384 and RS256 where they are configured, and refused where not', async () => {
    const verify = verifierWith({ algorithms: ['ES384', 'RS256'] });
    const rs256: SigningKey = { ...rsa, algorithm: 'RS256' };
    await acceptance(mint({ key: p384 }), context({ jkt: p384.jkt }), verify);
    await acceptance(mint({ key: rs256 }), context({ jkt: rsa.jkt }), verify);
    await refusal(mint({ key: p384 }), 'alg', context({ jkt: p384.jkt }));
    await refusal(mint({ key: rs256 }), 'alg', context({ jkt: rsa.jkt }));
    await refusal(mint(), 'alg', context(), verify);
  });

  it('may call the same Ed25519 algorithm by either of its names', async () => {
    await acceptance(mint({ key: ed25519, header: { alg: 'Ed25519' } }), context({ jkt: ed25519.jkt }));
    const verify = verifierWith({ algorithms: ['Ed25519'] });
    await acceptance(mint({ key: ed25519 }), context({ jkt: ed25519.jkt }), verify);
  });

  it('may carry header members and claims that mean nothing here', async () => {
    await acceptance(
      mint({ claims: { extra: { deep: [1] }, sub: 'me', nonce: 'unasked' }, header: { extra: 1, kid: 'k' } }),
    );
  });

  it('says how old it is, and that a nonce nobody asked for was not looked at', async () => {
    const made = mint({ nowMs: clock() - 7000, claims: { nonce: 'unasked' } });
    expect(await acceptance(made)).toMatchObject({ ageMs: 7000, hasNonce: false, nextNonce: null });
  });
});

describe('signature (RFC 9449 §4.3 (6))', () => {
  it('refuses a signature by another key, and one that was touched', async () => {
    const other = createKey('ES256');
    await refusal(mint({ key: other, header: { jwk: key.publicJwk } }), 'signature');
    const [header, payload, signature] = mint().split('.') as [string, string, string];
    const bytes = Buffer.from(signature, 'base64url');
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    await refusal(`${header}.${payload}.${bytes.toString('base64url')}`, 'signature');
    await refusal(`${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`, 'signature');
    await refusal(`${header}.${payload}.${bytes.subarray(0, 63).toString('base64url')}`, 'signature');
    const moved = encodePart({ ...JSON.parse(Buffer.from(payload, 'base64url').toString()), jti: 'another' });
    await refusal(`${header}.${moved}.${signature}`, 'signature');
  });

  it('keeps checking signatures once the key is kept', async () => {
    const verify = verifierWith();
    await acceptance(mint(), context(), verify);
    const [header, payload] = mint().split('.') as [string, string, string];
    const [, , stolen] = mint({ claims: { jti: 'x' } }).split('.') as [string, string, string];
    await refusal(`${header}.${payload}.${stolen}`, 'signature', context(), verify);
  });

  it('refuses an ECDSA signature in DER (RFC 7518 §3.4)', async () => {
    const signed = mint().split('.').slice(0, 2).join('.');
    const der = sign('sha256', Buffer.from(signed), key.privateKey);
    await refusal(`${signed}.${der.toString('base64url')}`, 'signature');
  });
});

describe('claims (RFC 9449 §4.2, §4.3 (3), (8)-(12))', () => {
  it('wants a jti of 1 to 256 characters', async () => {
    for (const jti of [undefined, '', 1, null, ['x'], 'x'.repeat(257)]) await refusal(mint({ claims: { jti } }), 'jti');
    await acceptance(mint({ claims: { jti: 'x'.repeat(256) } }));
  });

  it('wants an htm that is the very method, case included', async () => {
    for (const htm of [undefined, 'post', 'Post', 'GET', 'POST ', '', 1, ['POST']])
      await refusal(mint({ claims: { htm } }), 'htm');
    await acceptance(mint({ claims: { htm: 'HEAD' } }), context({ method: 'HEAD' }));
  });

  it('wants an htu that names this origin and path', async () => {
    for (const htu of [
      undefined,
      1,
      '',
      '/v1/items',
      'https://other.example/v1/items',
      `${origin}/v1/items/`,
      [origin],
    ]) {
      await refusal(mint({ claims: { htu } }), 'htu');
    }
  });

  it('wants an iat that is a number', async () => {
    for (const iat of [undefined, null, '1', [], true]) await refusal(mint({ claims: { iat } }), 'iat');
    const claims = JSON.stringify({ jti: '1', htm: 'POST', htu: `${origin}/v1/items`, ath: sha256(accessToken) });
    for (const iat of ['1e999', '-1e999', '-9223372036854775808', '9223372036854775807', '-0']) {
      await refusal(mint({ claims: `${claims.slice(0, -1)},"iat":${iat}}` }), 'iat');
    }
  });

  it('wants an ath that is the hash of the presented access token', async () => {
    const others = [
      undefined,
      1,
      '',
      sha256('another token'),
      `${sha256(accessToken)}=`,
      sha256(accessToken).toLowerCase(),
    ];
    for (const ath of others) await refusal(mint({ claims: { ath } }), 'ath');
  });

  it('wants the key that the access token is bound to (§6.1)', async () => {
    const other = createKey('ES256');
    expect(await verifyProof(mint({ key: other }), context())).toMatchObject({
      reason: 'key_mismatch',
      challenge: { scheme: 'DPoP' },
    });
  });

  it('computes the thumbprint over the required members only (RFC 7638 §3.2)', async () => {
    await acceptance(mint({ header: { jwk: { y: key.publicJwk.y, ext: true, ...key.publicJwk, kid: 'mine' } } }));
  });

  it('honours nbf and exp where a client sets them, give or take ten seconds', async () => {
    const now = clock() / 1000;
    await acceptance(mint({ claims: { nbf: now + 10, exp: now - 9 } }));
    for (const nbf of [now + 11, '0', null]) await refusal(mint({ claims: { nbf } }), 'nbf');
    for (const exp of [now - 10, 'x', null]) await refusal(mint({ claims: { exp } }), 'exp');
  });
});

describe('window (RFC 9449 §4.3 (11), §11.1)', () => {
  const at = (seconds: number) => mint({ nowMs: clock() + seconds * 1000 });

  it('is 60 s back and 10 s ahead when strict, both ends included', async () => {
    for (const seconds of [-60, -1, 0, 9, 10]) await acceptance(at(seconds));
    await refusal(at(-61), 'too old');
    await refusal(at(11), 'future');
    await refusal(mint({ claims: { iat: clock() / 1000 + 10.001 } }), 'future');
    await refusal(mint({ claims: { iat: clock() / 1000 - 60.001 } }), 'too old');
  });

  it('is five minutes both ways for mcp', async () => {
    const verify = verifierWith({ window: 'mcp' });
    for (const seconds of [-300, 300]) await acceptance(at(seconds), context(), verify);
    await refusal(at(-301), 'too old', context(), verify);
    await refusal(at(301), 'future', context(), verify);
  });

  it('is what configuration says otherwise', async () => {
    const verify = verifierWith({ window: { pastMs: 5000, futureMs: 0 } });
    for (const seconds of [-5, 0]) await acceptance(at(seconds), context(), verify);
    await refusal(at(-6), 'too old', context(), verify);
    await refusal(at(1), 'future', context(), verify);
  });
});

describe('single use (RFC 9449 §11.1)', () => {
  const named = async (agentKey: SigningKey, jti: string) =>
    (await acceptance(mint({ key: agentKey, claims: { jti } }), context({ jkt: agentKey.jkt }))).singleUse.key;

  it('is keyed by key and jti together, and never by text of the client', async () => {
    const other = createKey('ES256');
    expect(await named(key, 'one')).toBe(sha256(`${key.jkt}\0one`));
    expect(await named(key, 'one')).toBe(await named(key, 'one'));
    expect(new Set([await named(key, 'one'), await named(key, 'two'), await named(other, 'one')]).size).toBe(3);
  });

  it.each([
    ['strict', 60_000, 10_000],
    ['mcp', 300_000, 300_000],
  ] as const)('outlives the acceptance window %s, however a proof is dated', async (window, pastMs, futureMs) => {
    const verify = verifierWith({ window });
    for (const aheadMs of [-pastMs, -pastMs / 2, 0, futureMs / 2, futureMs]) {
      const { lifetimeMs } = (await acceptance(mint({ nowMs: clock() + aheadMs }), context(), verify)).singleUse;
      // This replica takes the proof for so long; one whose clock is a minute behind takes it a minute longer.
      const acceptedForMs = aheadMs + pastMs;
      expect(lifetimeMs).toBeGreaterThanOrEqual(acceptedForMs + 60_000);
      expect(lifetimeMs).toBe(acceptedForMs + futureMs + 60_000);
      expect(Number.isInteger(lifetimeMs)).toBe(true);
    }
  });

  it('has a whole number of milliseconds for a fractional iat', async () => {
    const { singleUse, ageMs } = await acceptance(mint({ claims: { iat: clock() / 1000 - 0.1234567 } }));
    expect([singleUse.lifetimeMs, ageMs].every(Number.isInteger)).toBe(true);
  });
});

describe('nonce (RFC 9449 §4.3 (10), §9)', () => {
  const time = createTestClock();
  const nonces = createNonces({ secret: Buffer.alloc(32, 1), clock: time });
  const verify = verifierWith({ nonces, clock: time });
  const withNonce = (nonce: unknown) => verify(mint({ nowMs: time(), claims: { nonce } }), context());

  it('is demanded, with the nonce to use, where it is missing, not a string or not ours', async () => {
    for (const nonce of [undefined, '', 'made-up', 7, null]) {
      expect(await withNonce(nonce)).toMatchObject({
        reason: 'proof_nonce_required',
        nonce: nonces.issue(),
        challenge: { scheme: 'DPoP' },
      });
    }
  });

  it('is accepted for two steps more, the last of them with a newer one to go on with', async () => {
    const nonce = nonces.issue();
    expect(await withNonce(nonce)).toMatchObject({ hasNonce: true, nextNonce: null });
    time.advance(60_000);
    expect(await withNonce(nonce)).toMatchObject({ hasNonce: true, nextNonce: null });
    time.advance(60_000);
    expect(await withNonce(nonce)).toMatchObject({ hasNonce: true, nextNonce: nonces.issue() });
    time.advance(60_000);
    expect(await withNonce(nonce)).toMatchObject({ reason: 'proof_nonce_required' });
  });

  it('excuses no other fault', async () => {
    const proof = mint({ nowMs: time(), claims: { nonce: nonces.issue(), htm: 'GET' } });
    await refusal(proof, 'htm', context(), verify);
    await refusal(mint({ nowMs: time() - 61_000, claims: { nonce: nonces.issue() } }), 'too old', context(), verify);
  });
});

describe('createVerifyProof', () => {
  it('says nothing of the request in a refusal', async () => {
    const marker = 'attacker-text';
    const refusals = [
      mint({ claims: { htm: marker } }),
      mint({ claims: { htu: marker } }),
      mint({ header: { alg: marker } }),
      mint({ header: { typ: marker } }),
      marker,
    ].map((proof) => verifyProof(proof, context()));
    for (const refused of await Promise.all(refusals)) expect(JSON.stringify(refused)).not.toContain(marker);
  });
});
