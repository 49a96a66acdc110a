import { describe, expect, it } from 'vitest';
import { createKey, type Jwk, thumbprint } from '../support/keys.ts';
import { encodePart } from '../support/tokens.ts';
import { acceptance, context, ed25519, key, mint, p384, refusal, rsa, verifyProof } from './proof-setup.ts';

describe('structure (RFC 9449 §4.3 (2), RFC 7515 §7.1)', () => {
  it('refuses a proof of 100 kB before any other work', async () => {
    await refusal(mint({ claims: { padding: 'x'.repeat(100_000) } }), 'too large');
  });

  it('refuses anything but three parts', async () => {
    const [header, payload, signature] = mint().split('.') as [string, string, string];
    for (const text of ['', '.', '..', 'a.b', `${header}.${payload}`, `${header}.${payload}.`]) {
      await refusal(text, 'compact JWS');
    }
    await refusal(`${header}..${signature}`, 'compact JWS');
    await refusal(`.${payload}.${signature}`, 'compact JWS');
    await refusal(`${header}.${payload}.${signature}.`, 'compact JWS');
    await refusal(`${header}.${payload}.${signature}.${payload}.${signature}`, 'compact JWS');
  });

  it('refuses padding, white space, a comma, the other alphabet and loose last bits in any part', async () => {
    const parts = mint({ claims: { text: '~~~???' } }).split('.');
    for (const place of [0, 1, 2]) {
      const part = parts[place] ?? '';
      for (const spoilt of [
        `${part}=`,
        ` ${part}`,
        `${part}\t`,
        `${part},${part}`,
        `${part.slice(0, 5)}+${part.slice(6)}`,
      ]) {
        const proof = parts.with(place, spoilt).join('.');
        expect(await verifyProof(proof, context())).toMatchObject({ reason: 'proof_invalid' });
      }
    }
    // 64 bytes end in two characters of which the last holds four bits that count for nothing.
    const last = parts[2]?.at(-1) ?? '';
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const loose = alphabet[alphabet.indexOf(last) + 1] ?? '';
    await refusal(parts.with(2, `${parts[2]?.slice(0, -1)}${loose}`).join('.'), 'signature');
  });

  it('refuses a header or payload that is not a JSON object', async () => {
    for (const text of ['[]', 'null', '"x"', '1', '{', '{}{}', '\ufeff{}']) {
      await refusal(mint({ header: text }), 'header');
      await refusal(mint({ claims: text }), 'payload');
    }
  });

  it('refuses names given twice, also when one is escaped (RFC 7515 §4)', async () => {
    const header = JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.publicJwk });
    await refusal(mint({ header: `${header.slice(0, -1)},"alg":"ES256"}` }), 'header');
    await refusal(mint({ header: `${header.slice(0, -1)},"\\u0061lg":"ES256"}` }), 'header');
    await refusal(mint({ claims: `{"htm":"POST","jti":"1","htm":"POST"}` }), 'payload');
  });

  it('refuses nesting without end', async () => {
    await refusal(mint({ claims: `{"a":${'['.repeat(1000)}${']'.repeat(1000)}}` }), 'payload');
  });
});

describe('header (RFC 9449 §4.2, §4.3 (4)-(7))', () => {
  it('takes typ as a media type, without case and with application/ or not', async () => {
    for (const typ of ['dpop+jwt', 'DPoP+JWT', 'application/dpop+jwt', 'Application/DPOP+jwt']) {
      await acceptance(mint({ header: { typ } }));
    }
    for (const typ of [undefined, 'JWT', 'at+jwt', 'dpop', 'dpop+jwt ', 'text/dpop+jwt', '', 1, ['dpop+jwt']]) {
      await refusal(mint({ header: { typ } }), 'typ');
    }
  });

  it.each([['none'], ['HS256'], ['ES512'], ['es256'], ['ES256K'], ['RS256'], ['RSA-OAEP'], ['__proto__'], ['']])(
    'refuses alg %j',
    (alg) => refusal(mint({ header: { alg } }), 'alg'),
  );

  it('refuses an unsigned proof, and one without alg', async () => {
    await refusal(mint({ header: { alg: undefined } }), 'alg');
    await refusal(mint({ header: { alg: ['ES256'] } }), 'alg');
    await refusal(
      `${encodePart({ typ: 'dpop+jwt', alg: 'none', jwk: key.publicJwk })}.${encodePart({})}.`,
      'compact JWS',
    );
  });

  it('refuses a proof without a jwk that is an object', async () => {
    for (const jwk of [undefined, null, 'key', [key.publicJwk], 1]) await refusal(mint({ header: { jwk } }), 'no jwk');
  });

  it.each(['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'])(
    'refuses a jwk with the private member %s',
    async (name) => {
      await refusal(mint({ header: { jwk: { ...key.publicJwk, [name]: 'AA' } } }), 'private');
      await refusal(mint({ header: { jwk: { ...key.publicJwk, [name]: null } } }), 'private');
    },
  );

  it('refuses a real private key and a symmetric one', async () => {
    await refusal(mint({ header: { jwk: key.privateJwk } }), 'private');
    await refusal(mint({ header: { jwk: { kty: 'oct', k: 'AAAA' } } }), 'private');
    await refusal(mint({ header: { jwk: { kty: 'oct' } } }), 'does not fit');
  });

  it('refuses an alg that is not one for the key', async () => {
    const where = context({ jkt: p384.jkt });
    await refusal(mint({ key: p384, header: { alg: 'ES256' }, signAs: 'ES256' }), 'does not fit', where);
    await refusal(mint({ header: { alg: 'EdDSA' } }), 'does not fit');
    await refusal(mint({ header: { alg: 'PS256' } }), 'does not fit');
    await refusal(mint({ header: { jwk: { ...ed25519.publicJwk, crv: 'Ed448' }, alg: 'EdDSA' } }), 'does not fit');
    await refusal(mint({ header: { jwk: { ...key.publicJwk, kty: 'AKP' } } }), 'does not fit');
  });

  it('refuses coordinates of another length or encoding, and a point that is not on the curve', async () => {
    const { x, y } = key.publicJwk as Record<string, string>;
    const broken: Jwk[] = [
      { x: `${x}A`, y },
      { x: `${x}=`, y },
      { x: '', y },
      { x },
      { x: 1, y },
      { x, y: y?.replace(/.$/, '') },
    ];
    for (const members of broken)
      await refusal(mint({ header: { jwk: { kty: 'EC', crv: 'P-256', ...members } } }), 'does not fit');
    const off = { kty: 'EC', crv: 'P-256', x, y: x };
    await refusal(mint({ header: { jwk: off } }), 'not a valid key', context({ jkt: thumbprint(off) }));
  });

  it('refuses RSA keys that are too small, too large, or have a bad exponent', async () => {
    const small = createKey('PS256', { modulusLength: 1024 });
    await refusal(mint({ key: small }), 'does not fit', context({ jkt: small.jkt }));
    const jwk = rsa.publicJwk as Record<string, string>;
    const large = Buffer.alloc(513, 0xff).toString('base64url');
    const padded = Buffer.concat([Buffer.alloc(1), Buffer.from(jwk.n ?? '', 'base64url')]).toString('base64url');
    const even = Buffer.alloc(256, 0xfe).toString('base64url');
    const bad: Jwk[] = [
      { n: large },
      { n: padded },
      { n: even },
      { n: 'x'.repeat(700) },
      { e: 'AQ' },
      { e: 'Ag' },
      { e: 'AAEAAQ' },
      { e: '_____w8' },
      { e: '' },
      { e: 3 },
      { n: undefined },
    ];
    for (const members of bad) {
      await refusal(
        mint({ key: rsa, header: { jwk: { ...jwk, ...members } } }),
        'does not fit',
        context({ jkt: rsa.jkt }),
      );
    }
  });

  it('refuses a jwk that its owner means for something else', async () => {
    const { publicJwk } = key;
    for (const members of [
      { use: 'enc' },
      { key_ops: ['sign'] },
      { key_ops: 'verify' },
      { alg: 'ES384' },
      { alg: 1 },
    ]) {
      await refusal(mint({ header: { jwk: { ...publicJwk, ...members } } }), 'something else');
    }
    await acceptance(
      mint({ header: { jwk: { ...publicJwk, use: 'sig', alg: 'ES256', key_ops: ['verify'], kid: 'mine' } } }),
    );
  });

  it('refuses crit and b64, and looks at no kid, jku, x5u or x5c', async () => {
    for (const header of [
      { crit: ['exp'], exp: 1 },
      { crit: [] },
      { b64: false },
      { crit: ['b64'], b64: false },
      { b64: true },
    ]) {
      await refusal(mint({ header }), 'extension');
    }
    await acceptance(
      mint({ header: { kid: 1, jku: 'http://127.0.0.1:1/', x5u: 'http://127.0.0.1:1/', x5c: ['AAAA'] } }),
    );
  });
});
