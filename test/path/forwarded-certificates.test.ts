import { hash, X509Certificate } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { clientCertificate, oddClientCertificate } from '../support/certificates.ts';
import { type Harness, type SidecarOptions, startSidecar } from '../support/sidecar.ts';

const { raw } = new X509Certificate(clientCertificate.cert);
const thumbprint = hash('sha256', raw, 'base64url');
const good = { 'client-cert': `:${raw.toString('base64')}:` };
const other = { 'client-cert': `:${new X509Certificate(oddClientCertificate.cert).raw.toString('base64')}:` };

const harnesses: Harness[] = [];
afterAll(() => Promise.all(harnesses.map((harness) => harness.close())));

/** Every connection of these tests comes from 127.0.0.1. */
async function start(
  trusted: boolean,
  clientCertificateField: object = { format: 'client-cert' },
  more: SidecarOptions = {},
) {
  const listen = { trustedProxies: [trusted ? '127.0.0.1' : '192.0.2.1'], clientCertificateField };
  const harness = await startSidecar({ ...more, config: { listen } });
  harnesses.push(harness);
  return harness;
}

const bound = (harness: Harness) => harness.mint({ agentKey: undefined, certificate: thumbprint });
const callWith = (harness: Harness, fields: Record<string, string | string[]>, token = bound(harness)) =>
  harness.call('/api/x', { token, scheme: 'Bearer', proof: null, fields });
const spoofed = async (harness: Harness) =>
  Number(/^postern_spoofed_fields_total (\d+)$/m.exec((await harness.admin('GET', '/metrics')).text)?.[1]);

describe('a certificate that a trusted proxy forwards', () => {
  it.each([
    ['xfcc', 'x-forwarded-client-cert', `Hash=${hash('sha256', raw, 'hex')};URI=spiffe://mesh/agent`],
    ['client-cert', 'client-cert', good['client-cert']],
    ['pem', 'x-client-cert', encodeURIComponent(clientCertificate.cert)],
    ['pem', 'ssl-client-cert-7', encodeURIComponent(clientCertificate.cert)],
  ])('binds a token: %s in %s', async (format, field, value) => {
    const usual = !field.endsWith('7');
    const harness = await start(true, usual ? { format } : { format, field });
    const answer = await callWith(harness, { [field]: value });
    expect(answer.status).toBe(200);
    expect((await harness.record(answer.decision)).pop).toMatchObject({ method: 'mtls', x5t: thumbprint });
    expect(harness.upstream.lastField(field)).toEqual([]);
    expect(await spoofed(harness)).toBe(0);
  });

  it('never reaches the upstream, even where the route lets its field through', async () => {
    const harness = await start(true, undefined, { route: { forwardFields: ['client-cert', 'client_cert'] } });
    expect((await callWith(harness, { ...good, client_cert: 'x' })).status).toBe(200);
    expect(harness.upstream.lastField('client-cert')).toEqual([]);
    expect(harness.upstream.lastField('client_cert')).toEqual([]);
    expect(await spoofed(harness)).toBe(1);
  });

  it('must be the one of the token', async () => {
    const harness = await start(true);
    for (const fields of [other, {}, { 'client-cert': '' }]) {
      expect(await callWith(harness, fields)).toMatchObject({ status: 401, reason: 'key_mismatch' });
    }
    expect(harness.upstream.requests).toEqual([]);
  });

  it.each([
    ['twice', { 'client-cert': [good['client-cert'], good['client-cert']] }],
    ['twice in one field', { 'client-cert': `${good['client-cert']}, ${good['client-cert']}` }],
    ['garbage', { 'client-cert': 'garbage' }],
    ['in another format', { 'client-cert': encodeURIComponent(clientCertificate.cert) }],
  ])('is refused where it is malformed: %s', async (_name, fields) => {
    const harness = await start(true);
    const answer = await callWith(harness, fields);
    expect(answer).toMatchObject({ status: 400, reason: 'request_malformed' });
    expect((await harness.record(answer.decision)).cause).toContain('client certificate field');
    expect(harness.upstream.requests).toEqual([]);
  });

  it('is seen by rules, with the name that Envoy gives it', async () => {
    const rules = `rules:
  - id: named
    when: has(connection.uri_san_peer_certificate) && connection.uri_san_peer_certificate == "spiffe://mesh/agent"
    effect: allow
`;
    const harness = await start(true, { format: 'xfcc' }, { rules });
    const value = `Hash=${hash('sha256', raw, 'hex')};URI=spiffe://mesh/agent`;
    expect((await callWith(harness, { 'x-forwarded-client-cert': value })).status).toBe(200);
    expect((await callWith(harness, { 'x-forwarded-client-cert': value.replace('/agent', '/other') })).status).toBe(
      403,
    );
  });
});

describe('a certificate field from anybody else', () => {
  it.each([
    ['a good one', good],
    ['a malformed one', { 'client-cert': 'garbage' }],
    ['two', { 'client-cert': [good['client-cert'], good['client-cert']] }],
    ['an odd spelling', { client_cert: good['client-cert'] }],
  ])('is ignored, dropped and counted: %s', async (_name, fields) => {
    const harness = await start(false, undefined, { route: { forwardFields: ['client-cert', 'client_cert'] } });
    expect(await callWith(harness, fields)).toMatchObject({ status: 401, reason: 'key_mismatch' });
    const call = await harness.call('/api/x', { fields });
    expect(call.status).toBe(200);
    for (const name of Object.keys(fields)) expect(harness.upstream.lastField(name)).toEqual([]);
    expect(await spoofed(harness)).toBe(2);
  });
});

describe('fields that speak for a proxy, where no certificate field is configured', () => {
  const names = [
    'forwarded',
    'x-forwarded-for',
    'x-forwarded-host',
    'x-real-ip',
    'true-client-ip',
    'client-cert',
    'x_client_cert',
    'x-ssl-client-verify',
    'ssl.client.cert',
    'x-amzn-mtls-clientcert',
  ];

  it('are counted and dropped, each time and in every spelling, from anybody but a trusted proxy', async () => {
    for (const [trustedProxies, counted] of [
      [[], names.length],
      [['192.0.2.1'], names.length],
      [['127.0.0.1'], 0],
    ] as const) {
      const harness = await startSidecar({ config: { listen: { trustedProxies } } });
      for (const name of names) {
        expect((await harness.call('/api/x', { fields: { [name]: 'for=192.0.2.7' } })).status, name).toBe(200);
        expect(harness.upstream.lastField(name)).toEqual([]);
      }
      await harness.call('/api/x', { fields: { 'x-forwarded-for': '192.0.2.7', forwarded: 'for=192.0.2.7' } });
      await harness.call('/api/x', { fields: { 'x-request-id': '1', 'x-real': '1', 'client-certificate': '1' } });
      expect(await spoofed(harness)).toBe(counted === 0 ? 0 : counted + 1);
      await harness.close();
    }
  });
});

describe('a token that is bound to a key and a certificate', () => {
  it('needs both', async () => {
    const harness = await start(true);
    const token = () => harness.mint({ certificate: thumbprint });
    const both = await harness.call('/api/x', { token: token(), fields: good });
    expect(both.status).toBe(200);
    expect((await harness.record(both.decision)).pop).toMatchObject({
      method: 'dpop',
      jkt: harness.agentKey.jkt,
      x5t: thumbprint,
    });
    expect(await harness.call('/api/x', { token: token() })).toMatchObject({ status: 401, reason: 'key_mismatch' });
    const wrong = await harness.call('/api/x', { token: token(), fields: other });
    expect(wrong).toMatchObject({ status: 401, reason: 'key_mismatch' });
    const unproven = await harness.call('/api/x', { token: token(), fields: good, proof: null });
    expect(unproven).toMatchObject({ status: 401, reason: 'proof_missing' });
    expect(await callWith(harness, good, token())).toMatchObject({ status: 401, reason: 'token_invalid' });
    expect(harness.upstream.requests).toHaveLength(1);
  });
});
