import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { Target } from '../../src/exchange.ts';
import { vetTarget } from '../../src/receive/target.ts';

const vet = (rawUrl: string) => vetTarget(rawUrl, { bytesMax: 8192 });
const reasonOf = (rawUrl: string) => {
  const target = vet(rawUrl);
  return isDeny(target) ? target.reason : target;
};

describe('vetTarget', () => {
  it.each([
    ['absolute-form', 'http://evil.example/x'],
    ['authority-form', 'evil.example:443'],
    ['asterisk-form', '*'],
    ['nothing', ''],
    ['no leading slash', 'a/b'],
    ['a network path', '//evil.example/x'],
    ['a network path with a backslash', '/\\evil.example/x'],
    ['an empty segment', '/a//b'],
    ['an empty segment at the end', '/a//'],
    ['a backslash', '/a\\b'],
    ['an encoded backslash', '/a%5Cb'],
    ['an encoded slash', '/a%2Fb'],
    ['an encoded slash in lower case', '/a%2fb'],
    ['a dot segment', '/a/./b'],
    ['a dot segment at the end', '/a/.'],
    ['a double dot segment', '/a/../b'],
    ['a double dot segment at the end', '/a/..'],
    ['a double dot segment at the start', '/..'],
    ['an encoded dot segment', '/a/%2e/b'],
    ['an encoded double dot segment', '/a/%2E%2e/b'],
    ['a half encoded double dot segment', '/a/.%2e/b'],
    ['double encoding', '/a/%252e%252e/b'],
    ['an encoded percent', '/a%25b'],
    ['a path parameter', '/a;b=c/d'],
    ['a path parameter that hides a dot segment', '/a/..;/b'],
    ['an encoded semicolon', '/a%3Bb'],
    ['a NUL', '/a\x00b'],
    ['a control', '/a\x1fb'],
    ['a delete', '/a\x7fb'],
    ['an encoded NUL', '/a%00b'],
    ['an encoded line feed', '/a%0Ab'],
    ['an encoded delete', '/a%7fb'],
    ['a fragment', '/a#b'],
    ['a fragment after a query', '/a?b#c'],
    ['a lone percent', '/a%'],
    ['a percent with one digit', '/a%4'],
    ['a percent without hex digits', '/a%zz'],
    ['an encoded byte that is not UTF-8', '/a%ff'],
    ['an overlong encoding of a slash', '/a%c0%af'],
    ['an encoded surrogate', '/a%ed%a0%80'],
    ['a cut UTF-8 sequence', '/caf%C3'],
    ['a byte that is not ASCII', '/caf\xe9'],
    ['a character beyond latin1', '/caf\u0101'],
    ['a space', '/a b'],
    ['a quote', '/a"b'],
    ['an angle bracket', '/a<b'],
    ['a brace', '/a{b}'],
    ['a bar', '/a|b'],
    ['a caret', '/a^b'],
    ['a bracket', '/a[0]'],
    ['a space in the query', '/a?b c'],
    ['a control in the query', '/a?b\x01'],
    ['a quote in the query', '/a?b="c"'],
    ['a byte that is not ASCII in the query', '/a?b=\xe9'],
    ['a percent without hex digits in the query', '/a?b=%g0'],
  ])('refuses %s', (_name, rawUrl) => {
    expect(reasonOf(rawUrl)).toBe('target_ambiguous');
  });

  it.each<[string, string, Target]>([
    ['the root', '/', { path: '/', query: null }],
    ['a plain path', '/repos/acme/app', { path: '/repos/acme/app', query: null }],
    ['a slash at the end', '/repos/', { path: '/repos/', query: null }],
    ['an empty query', '/repos?', { path: '/repos', query: '' }],
    ['a question mark in the query', '/a?b?c', { path: '/a', query: 'b?c' }],
    ['a query as it was sent', '/a?q=%2fx%41&y=%7e', { path: '/a', query: 'q=%2fx%41&y=%7e' }],
    ['dots that are no dot segment', '/a/.../.b/c.d', { path: '/a/.../.b/c.d', query: null }],
    ['dots and slashes in the query', '/a?b=/../c//d', { path: '/a', query: 'b=/../c//d' }],
    ['all of pchar', "/a-._~!$&'()*+,=:@", { path: "/a-._~!$&'()*+,=:@", query: null }],
    ['encoded UTF-8', '/caf%c3%a9', { path: '/caf%C3%A9', query: null }],
    ['encoded unreserved octets, decoded', '/%61%2Db%7E%2ex', { path: '/a-b~.x', query: null }],
    ['encoded reserved octets, still encoded', '/a%3ab%40%20c%3f', { path: '/a%3Ab%40%20c%3F', query: null }],
  ])('takes %s', (_name, rawUrl, target) => {
    expect(vet(rawUrl)).toEqual(target);
  });

  it('refuses what is longer than the bound, and takes what is just as long', () => {
    expect(vetTarget('/abcdefg', { bytesMax: 8 })).toEqual({ path: '/abcdefg', query: null });
    expect(vetTarget('/abcdefgh', { bytesMax: 8 })).toMatchObject({ reason: 'target_too_long' });
  });

  it('gives a path that is a fixed point, for whatever it takes', () => {
    const part = fc.oneof(
      fc.constantFrom(
        '/',
        '.',
        '..',
        '%',
        '%2e',
        '%2F',
        '%25',
        '%c3%a9',
        '%41',
        ';',
        '?',
        '#',
        '\\',
        'a',
        'B',
        ' ',
        '%00',
      ),
      fc.string({ maxLength: 3 }),
    );
    const rawUrls = fc.array(part, { maxLength: 12 }).map((parts) => `/${parts.join('')}`);
    fc.assert(
      fc.property(rawUrls, (rawUrl) => {
        const target = vet(rawUrl);
        if (isDeny(target)) return;
        expect(vet(target.path)).toEqual({ path: target.path, query: null });
        // What WHATWG and RFC 3986 parsers make of it is what it is: nobody resolves, merges or splits it otherwise.
        const url = new URL(`https://api.example${target.path}`);
        expect(url.host).toBe('api.example');
        expect(url.pathname).toBe(target.path);
        expect(decodeURIComponent(target.path).split('/')).toHaveLength(target.path.split('/').length);
      }),
      { numRuns: 3000 },
    );
  });
});
