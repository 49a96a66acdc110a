import { describe, expect, it } from 'vitest';
import { createReadReason, type ReasonPlaces, type StatedReasonOptions } from '../../src/identify/stated-reason.ts';

type Asked = Partial<Omit<ReasonPlaces, 'fields'>> & { readonly header?: string | readonly string[] };

function read(asked: Asked, options: Partial<StatedReasonOptions> = {}) {
  const { header, ...rest } = asked;
  return createReadReason({ header: 'agent-reason', metaKey: 'example.com/reason', required: false, ...options })({
    signed: undefined,
    json: undefined,
    isBodyAwaited: false,
    fields: new Map(header === undefined ? [] : [['agent-reason', [header].flat()]]),
    ...rest,
  });
}

const call = (reason: unknown) => ({ jsonrpc: '2.0', params: { _meta: { 'example.com/reason': reason } } });
const refused = { effect: 'deny', reason: 'reason_required' };

describe('the stated reason', () => {
  it('comes from the signed proof, else from the field, else from _meta', () => {
    const everywhere = { signed: 'one', header: 'two', json: call('three') };
    expect(read(everywhere)).toEqual({ text: 'one', source: 'signed' });
    expect(read({ ...everywhere, signed: undefined })).toEqual({ text: 'two', source: 'header' });
    expect(read({ json: call('three') })).toEqual({ text: 'three', source: 'meta' });
    expect(read({})).toBeNull();
  });

  it.each([
    ['signed', { signed: ' a\u0000b\u001b\u007f\u0085\u2028c\n' }],
    ['header', { header: 'a\tb\x7fc' }],
    ['meta', { json: call('\ra\u0007b\u2029c ') }],
  ])('loses its control characters: %s', (source, places) => {
    expect(read(places)).toEqual({ text: 'abc', source });
  });

  it('takes UTF-8 and a quoted string from the field', () => {
    expect(read({ header: Buffer.from('"caf\u00e9 \\"x\\""').toString('latin1') })).toMatchObject({
      text: 'caf\u00e9 "x"',
    });
  });

  const wrong = [7, null, true, '', '  ', '\u0000', ['x'], { text: 'x' }, 'x'.repeat(257), '\u0000'.repeat(5000)];
  it.each(wrong)('is refused in a wrong form, and no other place is asked instead: %j', (value) => {
    expect(read({ signed: value, header: 'good', json: call('good') })).toMatchObject(refused);
    expect(read({ json: call(value) })).toMatchObject(refused);
  });

  it.each([
    ['an empty field', ''],
    ['two fields', ['a', 'b']],
    ['a long field', 'x'.repeat(257)],
  ])('is refused in %s, and _meta is not asked instead', (_name, header) => {
    expect(read({ header, json: call('good') })).toMatchObject(refused);
  });

  it('may have 256 characters', () => {
    expect(read({ signed: 'x'.repeat(256) })).toMatchObject({ text: 'x'.repeat(256) });
  });

  it.each([
    ['a batch', [call('x')]],
    ['params that are a list', { params: [{ _meta: { 'example.com/reason': 'x' } }] }],
    ['_meta that is no object', { params: { _meta: 'example.com/reason' } }],
    ['another key', { params: { _meta: { 'agent-reason': 'x' } } }],
    ['a key outside of params', { _meta: { 'example.com/reason': 'x' } }],
    ['a text', 'example.com/reason'],
  ])('is not found in %s', (_name, json) => {
    expect(read({ json })).toBeNull();
    expect(read({ json }, { required: true })).toMatchObject(refused);
  });

  it('has no member that every object has', () => {
    expect(read({ json: { params: { _meta: {} } } }, { metaKey: 'constructor' })).toBeNull();
  });

  it('that is required is waited for while the body is to come, and demanded then', () => {
    expect(read({ isBodyAwaited: true }, { required: true })).toBeNull();
    expect(read({ isBodyAwaited: false }, { required: true })).toMatchObject(refused);
    expect(read({ json: call('x') }, { required: true })).toMatchObject({ text: 'x' });
  });

  it.each([
    ['signed', (text: string) => ({ signed: text })],
    ['header', (text: string) => ({ header: text })],
    ['meta', (text: string) => ({ json: call(text) })],
  ])('must match the pattern whole, wherever it comes from: %s', (_source, places) => {
    const options = { pattern: '[A-Z]+-[0-9]+' };
    expect(read(places('OPS-12'), options)).toMatchObject({ text: 'OPS-12' });
    expect(read(places('OPS-12 '.concat('and more')), options)).toMatchObject(refused);
  });
});
