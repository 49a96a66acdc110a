import { hash, X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createReadForwardedCertificate } from '../../src/receive/forwarded-certificate.ts';
import { clientCertificate, oddClientCertificate } from '../support/certificates.ts';

const { raw } = new X509Certificate(clientCertificate.cert);
const thumbprint = hash('sha256', raw, 'base64url');
const hex = hash('sha256', raw, 'hex');
const base64 = raw.toString('base64');

describe('x-forwarded-client-cert', () => {
  const read = createReadForwardedCertificate('xfcc');

  it.each([
    [
      'as Envoy writes it',
      `By=spiffe://mesh/api;Hash=${hex};Subject="CN=agent-7,O=\\"Ex; ample\\"";URI=spiffe://mesh/agent`,
    ],
    ['in any case and order', `uri=spiffe://mesh/agent;HASH=${hex.toUpperCase()};DNS=a.example;DNS=b.example`],
    ['with several URIs', `Hash=${hex};URI=spiffe://mesh/agent;URI=spiffe://mesh/other;`],
    ['with everything quoted', `Hash="${hex}";URI="spiffe://mesh/agent"`],
  ])('is read %s', (_name, value) => {
    expect(read(value)).toEqual({ thumbprint, uriSan: 'spiffe://mesh/agent' });
  });

  it('names nobody without a URI', () => {
    expect(read(`Hash=${hex};URI=`)).toEqual({ thumbprint, uriSan: null });
    expect(read('')).toBeNull();
  });

  it('is not misled by what a quoted value holds', () => {
    const other = '0'.repeat(64);
    expect(read(`Subject="CN=x;Hash=${other},Hash=${other};URI=spiffe://evil";Hash=${hex}`)).toEqual({
      thumbprint,
      uriSan: null,
    });
    expect(read(`Subject="\\";Hash=${other}`)).toMatch('does not end');
  });

  it.each([
    ['two elements', `Hash=${hex},Hash=${hex}`, /more than one element/],
    ['two elements, the first of them empty of a Hash', `By=a,Hash=${hex}`, /more than one element/],
    ['an empty second element', `Hash=${hex},`, /more than one element/],
    ['two Hashes', `Hash=${hex};Hash=${hex}`, /more than one Hash/],
    ['no Hash', 'URI=spiffe://mesh/agent', /no Hash/],
    ['a SHA-1', `Hash=${hex.slice(0, 40)}`, /no Hash of 64/],
    ['a base64url Hash', `Hash=${thumbprint}`, /no Hash of 64/],
    ['a pair that is none', `Hash=${hex};x`, /equals sign/],
    ['text after a quote', `Hash="${hex}"x`, /after a quoted value/],
    ['nonsense', 'nonsense', /equals sign/],
  ])('is refused with %s', (_name, value, problem) => {
    expect(read(value)).toMatch(problem);
  });
});

describe('Client-Cert (RFC 9440)', () => {
  const read = createReadForwardedCertificate('client-cert');

  it('is a byte sequence of the DER encoding, whose names nobody vouches for', () => {
    expect(read(`:${base64}:`)).toEqual({ thumbprint, uriSan: null });
    expect(read('')).toBeNull();
  });

  it.each([
    ['no colons', base64],
    ['nothing between the colons', '::'],
    ['one colon', ':'],
    ['a parameter', `:${base64}:;a=1`],
    ['base64url', `:${raw.toString('base64url')}:`],
    ['a blank within', `:${base64.slice(0, 8)} ${base64.slice(8)}:`],
    ['a second one', `:${base64}:, :${base64}:`],
    ['no certificate', ':AAAA:'],
    ['bytes after the certificate', `:${Buffer.concat([raw, Buffer.from([0])]).toString('base64')}:`],
    ['a certificate after the certificate', `:${Buffer.concat([raw, raw]).toString('base64')}:`],
    ['half a certificate', `:${raw.subarray(0, 200).toString('base64')}:`],
  ])('is refused with %s', (_name, value) => {
    expect(typeof read(value)).toBe('string');
  });
});

describe('an escaped PEM certificate', () => {
  const read = createReadForwardedCertificate('pem');

  it.each([
    ['as nginx escapes it', encodeURIComponent(clientCertificate.cert)],
    // Its base64 holds a plus, which is no blank here.
    [
      'with plus, slash and equals as they are',
      encodeURIComponent(clientCertificate.cert).replace(/%2B|%2F|%3D/g, decodeURIComponent),
    ],
    ['with CRLF', encodeURIComponent(clientCertificate.cert.replaceAll('\n', '\r\n'))],
  ])('is read %s', (_name, value) => {
    expect(read(value)).toEqual({ thumbprint, uriSan: null });
  });

  it('has a plus to tell, in these tests', () => {
    expect(base64).toContain('+');
  });

  it.each([
    ['two certificates', encodeURIComponent(clientCertificate.cert + oddClientCertificate.cert)],
    ['the same certificate twice', encodeURIComponent(clientCertificate.cert + clientCertificate.cert)],
    ['text before it', encodeURIComponent(`x${clientCertificate.cert}`)],
    ['text after it', encodeURIComponent(`${clientCertificate.cert}x`)],
    ['a private key', encodeURIComponent(clientCertificate.key)],
    ['a blank for its plus', encodeURIComponent(clientCertificate.cert).replaceAll('%2B', '%20')],
    ['a percent sign too many', `${encodeURIComponent(clientCertificate.cert)}%`],
    ['bare base64', base64],
    ['nothing in it', encodeURIComponent('-----BEGIN CERTIFICATE----------END CERTIFICATE-----')],
    ['only its beginning', encodeURIComponent('-----BEGIN CERTIFICATE-----')],
  ])('is refused with %s', (_name, value) => {
    expect(typeof read(value)).toBe('string');
  });
});
