import { describe, expect, it } from 'vitest';
import { isJsonBody, parseJsonBody } from '../../src/receive/json-body.ts';

const said = (fields: Readonly<Record<string, string | readonly string[]>>) =>
  isJsonBody(new Map(Object.entries(fields).map(([name, value]) => [name, [value].flat()])));
const malformed = { effect: 'deny', reason: 'body_malformed' };

describe('isJsonBody', () => {
  it.each(['application/json', 'Application/JSON', 'application/json; charset=utf-8', 'application/merge-patch+json'])(
    'takes %s for JSON',
    (type) => {
      expect(said({ 'content-type': type })).toBe(true);
      expect(said({ 'content-type': type, 'content-encoding': 'identity' })).toBe(true);
    },
  );

  it.each(['text/plain', 'application/octet-stream', 'application/jsonp', 'text/json', 'multipart/form-data; a=b', ''])(
    'takes %j for something else',
    (type) => {
      expect(said({ 'content-type': type, 'content-encoding': 'gzip' })).toBe(false);
    },
  );

  it('takes a body without a type for something else', () => {
    expect(said({})).toBe(false);
  });

  it.each<[string, Parameters<typeof said>[0]]>([
    ['two types', { 'content-type': ['application/json', 'text/plain'] }],
    ['two equal types', { 'content-type': ['application/json', 'application/json'] }],
    ['a list of types', { 'content-type': 'text/plain, application/json' }],
    ['another charset', { 'content-type': 'application/json; charset=utf-16' }],
    ['another charset, quoted and second', { 'content-type': 'application/json;a=b; Charset="UTF-7"' }],
    ['a charset without a value', { 'content-type': 'application/json; charset' }],
    ['a coded body', { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
    ['two codings', { 'content-type': 'application/json', 'content-encoding': ['identity', 'identity'] }],
  ])('refuses %s', (_name, fields) => {
    expect(said(fields)).toMatchObject(malformed);
  });
});

describe('parseJsonBody', () => {
  const parse = (text: string) => parseJsonBody(Buffer.from(text, 'latin1'));

  it.each(['{"a":[1,null]}', '[{"a":1},{"a":2}]', '"x"', '0', 'null', ' {} \r\n', '"\\ud83d\\ude00\\u0000"'])(
    'reads %s',
    (text) => {
      expect(parse(text)).toEqual({ json: JSON.parse(text) });
    },
  );

  it('finds nothing in an empty body', () => {
    expect(parse('')).toEqual({ json: undefined });
  });

  it.each([
    ['a repeated name', '{"a":1,"a":2}'],
    ['a name repeated in another spelling', '{"a":1,"\\u0061":2}'],
    ['a repeated name within', '[{"b":{"a":1,"a":1}}]'],
    ['__proto__', '{"__proto__":{}}'],
    ['a byte order mark', '\xef\xbb\xbf{}'],
    ['UTF-16', '{\0}\0'],
    ['bytes that are no UTF-8', '{"a":"\xff"}'],
    ['an overlong encoding', '{"a":"\xc0\xaf"}'],
    ['an encoded surrogate', '{"a":"\xed\xa0\x80"}'],
    ['two texts', '{}{}'],
    ['a comment', '{}//'],
    ['a comma too many', '[1,]'],
    ['blanks only', '  '],
    ['a text cut off', '{"a":'],
    ['half a surrogate pair', '{"a":["admin\\ud800"]}'],
    ['half a surrogate pair in a name', '{"a":{"admin\\uDC00":1}}'],
    ['NUL in a name', '{"to":1,"to\\u0000":2}'],
    ['33 levels', `${'['.repeat(33)}${']'.repeat(33)}`],
  ])('refuses %s', (_name, text) => {
    expect(parse(text)).toMatchObject(malformed);
  });

  it('reads 32 levels', () => {
    expect(parse(`${'['.repeat(32)}${']'.repeat(32)}`)).toHaveProperty('json');
  });
});
