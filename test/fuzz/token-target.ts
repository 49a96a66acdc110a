/** Access tokens: parser and verifier, in every dialect, with jose beside them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importJWK, jwtVerify } from 'jose';
import { isDeny } from '../../src/decision.ts';
import type { AccessToken } from '../../src/exchange.ts';
import { createVerifyAccessToken, type VerifyAccessToken } from '../../src/identify/access-token.ts';
import { dialectOf } from '../../src/identify/dialects.ts';
import { createKeySets } from '../../src/identify/key-sets.ts';
import { createTestClock } from '../support/clock.ts';
import { publishedJwk } from '../support/keys.ts';
import { fixedKey } from './fixed-keys.ts';
import { type FuzzTarget, mustHold } from './fuzzer.ts';
import { type JwsSeed, writeJws } from './jws.ts';
import { mutateText, oddValues } from './mutate.ts';

const issuerKey = fixedKey('ES256', 'issuer');
const agentKey = fixedKey('ES256', 'agent');
const clock = createTestClock();
const now = clock() / 1000;
const dialects = ['rfc9068', 'keycloak', 'entra', 'auth0', 'okta', 'hydra'] as const;
const custom = {
  typ: ['JWT', 'at+jwt'],
  agent: ['azp', 'client.id'],
  scope: 'permissions',
  roles: 'https://a.example/roles',
};
const issuers = [...dialects, 'custom'].map((name) => `https://${name}.example.com`);
const skewMs = 30_000;

const reasons = new Set(['token_invalid', 'token_expired']);
/** What an access token is never typed as. */
const otherTypes = [
  'dpop+jwt',
  'logout+jwt',
  'secevent+jwt',
  'oauth-id-jag+jwt',
  'txntoken+jwt',
  'token-introspection+jwt',
];

export async function createTokenTarget(): Promise<FuzzTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-fuzz-'));
  const jwksFile = join(folder, 'jwks.json');
  writeFileSync(jwksFile, JSON.stringify({ keys: [publishedJwk(issuerKey)] }));
  const keysAge = { keysMaxAge: 86_400_000, keysMaxStale: 86_400_000 };
  const keySets = createKeySets({
    issuers: issuers.map((issuer) => ({ issuer, jwksFile, algorithms: ['ES256'], ...keysAge })),
    clock,
  });
  await keySets.warm();
  const verify = createVerifyAccessToken({
    issuers: issuers.flatMap((issuer, index) => {
      const keySet = keySets.byIssuer.get(issuer);
      const dialect = dialectOf(dialects[index] ?? custom);
      return keySet === undefined ? [] : [{ issuer, algorithms: ['ES256'], clockSkewMs: skewMs, keySet, dialect }];
    }),
    clock,
    tokenBytesMax: 8192,
    cacheMax: 100,
  });
  const publicKey = await importJWK(issuerKey.publicJwk, 'ES256');
  return {
    name: 'token',
    boundMs: 50,
    write: (random, known) =>
      random.percent(90) || known.length === 0
        ? writeJws(random, seeds, oddities)
        : mutateText(random, random.pick(known)),
    judge: (raw) => judge(raw, verify, publicKey),
    async close() {
      await keySets.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function judge(
  raw: string,
  verify: VerifyAccessToken,
  key: Awaited<ReturnType<typeof importJWK>>,
): Promise<string> {
  const verified = await verify(raw);
  if (isDeny(verified)) {
    mustHold(reasons.has(verified.reason), `reason ${verified.reason}`);
    mustHold(!`${verified.detail}${verified.cause}`.includes('eyJ'), 'a refusal repeats nothing');
    return `${verified.reason}: ${verified.cause}`;
  }
  const { accessToken } = verified;
  mustHold((await verify(raw)) === verified, 'the second time is as the first');
  const currentDate = new Date(clock());
  const { payload, protectedHeader } = await jwtVerify(raw, key, {
    algorithms: ['ES256'],
    currentDate,
    clockTolerance: 31,
  });
  mustHold(
    issuers.includes(payload.iss ?? '') && accessToken.issuer === payload.iss,
    'the issuer is one of those configured',
  );
  const type = String(protectedHeader.typ ?? '')
    .toLowerCase()
    .replace('application/', '');
  mustHold(!otherTypes.includes(type), 'the type is not that of another kind of token');
  mustHold(accessToken.expiresAtMs > clock() - skewMs, 'the token has not expired');
  const { cnf } = payload as { readonly cnf?: { readonly jkt?: string; readonly 'x5t#S256'?: string } };
  const { jkt, x5t } = accessToken.confirmation;
  mustHold(jkt === (cnf?.jkt ?? null) && x5t === (cnf?.['x5t#S256'] ?? null), 'the binding is that of cnf');
  mustHold(cnf === undefined || jkt !== null || x5t !== null, 'a cnf is never read as none');
  checkShape(accessToken);
  return `accepted: ${accessToken.issuer} ${accessToken.subjectType} ${accessToken.actors.length}`;
}

function checkShape(accessToken: AccessToken): void {
  const { agent, subject, clientId, jti, audience, scopes, roles, actors } = accessToken;
  for (const text of [agent.id, agent.issuer, subject, clientId, jti, ...audience, ...roles]) {
    mustHold(typeof text === 'string' && text !== '', 'names are texts');
  }
  mustHold(audience.length > 0, 'there is an audience');
  mustHold(
    scopes.every((scope) => typeof scope === 'string' && scope !== ''),
    'scopes are texts',
  );
  mustHold(
    actors.every(({ verified }, index) => verified === (index === 0)),
    'only the outermost actor is verified',
  );
  mustHold(actors.length === 0 || agent.id === actors[0]?.sub, 'the outermost actor is the agent');
  mustHold(Number.isFinite(accessToken.issuedAtMs) && Number.isFinite(accessToken.expiresAtMs), 'times are numbers');
  for (const value of [accessToken, accessToken.claims, accessToken.actors, accessToken.agent]) {
    mustHold(Object.isFrozen(value), 'what is shared is frozen');
  }
}

const oddities: readonly unknown[] = [
  ...oddValues,
  ...issuers,
  ...[
    'at+jwt',
    'JWT',
    'application/at+jwt',
    'ID',
    'Bearer',
    'DPoP',
    ...otherTypes,
    'none',
    'HS256',
    'ES256',
    issuerKey.kid,
  ],
  ...[now, now + 300, now - 300, now + 31, now - 31, String(now), { jkt: agentKey.jkt }, { 'x5t#S256': agentKey.jkt }],
  ...[
    { sub: 'a', act: { sub: 'b' } },
    { sub: 'a', iss: 'https://a.example', sub_profile: 'user ai_agent' },
    { jkt: 'x' },
    { jwk: {} },
  ],
  ...[[{ type: 'a' }], [{ type: 1 }], 'a b  c', ['a', 'b'], { roles: ['a'] }, { value: 'a' }],
];

const cnf = { jkt: agentKey.jkt };
const base = { sub: 'user-1', aud: 'https://api.example.com', iat: now, exp: now + 300, jti: 'token-1', cnf };
const claimsByDialect: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  rfc9068: {
    ...base,
    client_id: 'agent-7',
    scope: 'read write',
    roles: ['admin'],
    auth_time: now - 60,
    acr: 'urn:a',
    act: { sub: 'agent-8', act: { sub: 'agent-9' } },
  },
  keycloak: {
    ...base,
    azp: 'agent-7',
    typ: 'Bearer',
    scope: 'read',
    realm_access: { roles: ['a'] },
    sid: 's',
    cnf: { ...cnf, 'kc-jkt-type': 'DPoP' },
  },
  entra: {
    ...base,
    azp: 'agent-7',
    oid: 'o',
    tid: 't',
    uti: 'u',
    scp: 'read',
    ver: '2.0',
    idtyp: 'app',
    xms_par_app_azp: 'p',
    xms_act_fct: '9 3',
    xms_sub_fct: '2',
  },
  auth0: { ...base, azp: 'agent-7', scope: 'read', permissions: ['a:b'], gty: 'client-credentials' },
  okta: { ...base, cid: 'agent-7', uid: 'u', scp: ['read'], groups: ['g'], ver: 1 },
  hydra: { ...base, client_id: 'agent-7', scp: ['read'], ext: { roles: ['a'] } },
  custom: {
    ...base,
    client: { id: 'agent-7' },
    permissions: ['read'],
    'https://a.example/roles': 'admin',
    client_id: 'c',
  },
};

const seeds: readonly JwsSeed[] = [...dialects, 'custom'].map((name) => ({
  header: { typ: name === 'rfc9068' ? 'at+jwt' : 'JWT', alg: 'ES256', kid: issuerKey.kid },
  payload: { iss: `https://${name}.example.com`, ...claimsByDialect[name] },
  key: issuerKey,
}));
