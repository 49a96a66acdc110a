import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { PathOddity } from '../../src/exchange.ts';
import { vetTarget } from '../../src/receive/target.ts';

const all: readonly PathOddity[] = ['encoded-slash', 'semicolon', 'empty-segments', 'double-encoding'];
const vet = (rawUrl: string, allowed: readonly PathOddity[] = all) =>
  vetTarget(rawUrl, { bytesMax: 8192, allowed: new Set(allowed) });

describe('vetTarget with what routes have opted in to', () => {
  it.each<[string, string, PathOddity, string]>([
    ['/a%2fb', '/a%2Fb', 'encoded-slash', '/a/b'],
    ['/a;v=1/b', '/a;v=1/b', 'semicolon', '/a/b'],
    ['/a%3bv/b', '/a%3Bv/b', 'semicolon', '/a/b'],
    ['/a//b', '/a//b', 'empty-segments', '/a/b'],
    ['/a//', '/a//', 'empty-segments', '/a'],
    ['/a%2520b', '/a%2520b', 'double-encoding', '/a%20b'],
    ['/100%25', '/100%25', 'double-encoding', '/100%25'],
    ['/a%252fb', '/a%252fb', 'double-encoding', '/a/b'],
    ['/%25c3%25a9', '/%25c3%25a9', 'double-encoding', '/%C3%A9'],
  ])('takes %s as it is, and says how it could be read', (rawUrl, path, use, lenientPath) => {
    const others = all.filter((oddity) => oddity !== use);
    expect(vet(rawUrl)).toEqual({ path, query: null, odd: { uses: [use], lenientPath } });
    expect(vet(rawUrl, [use])).toMatchObject({ path });
    expect(vet(rawUrl, others)).toMatchObject({ reason: 'target_ambiguous' });
    expect(vet(rawUrl, [])).toMatchObject({ reason: 'target_ambiguous' });
  });

  it('names everything that a path uses', () => {
    const target = vet('/a%2fb;c//d%2541?q=;');
    expect(target).toMatchObject({ query: 'q=;', odd: { lenientPath: '/a/b/dA' } });
    expect(isDeny(target) || target.odd?.uses.toSorted()).toEqual(all.toSorted());
  });

  it('says nothing odd of a plain path', () => {
    expect(vet('/a/b%20c')).toEqual({ path: '/a/b%20c', query: null });
  });

  it.each([
    ['a dot segment', '/a/../b'],
    ['a dot segment after an encoded slash', '/a%2f..%2fb'],
    ['a dot segment with a parameter', '/a/..;x/b'],
    ['a dot segment with an encoded parameter', '/a/.%3bx/b'],
    ['a dot segment, encoded twice', '/a/%252e%252e/b'],
    ['a dot segment, half encoded twice', '/a/.%252E/b'],
    ['a dot segment behind slashes that are encoded twice', '/a%252f..%252fb'],
    ['three times encoded', '/a%25252fb'],
    ['two slashes at the beginning', '//evil.example/x'],
    ['a backslash', '/a\\b'],
    ['an encoded backslash', '/a%5cb'],
    ['a backslash, encoded twice', '/a%255cb'],
    ['an encoded control', '/a%0ab'],
    ['a control, encoded twice', '/a%2500'],
    ['not UTF-8, encoded twice', '/a%25ff'],
    ['an invalid percent', '/a%zz;b'],
    ['a fragment', '/a;b#c'],
    ['absolute-form', 'http://a/b;c'],
  ])('never takes %s', (_name, rawUrl) => {
    expect(vet(rawUrl)).toMatchObject({ reason: 'target_ambiguous' });
  });

  it('takes nothing in which anybody who decodes and splits in any order finds a dot segment', () => {
    const piece = fc.constantFrom('a', '/', '.', '..', ';', '%2f', '%3b', '%2e', '%25', '25', '2f', '2e', '3b', '5c');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const target = vet(`/${pieces.join('')}`);
        if (isDeny(target)) return;
        for (const reading of readingsOf(target.path)) {
          const segments = reading.split('/');
          expect(
            segments.some((one) => one === '.' || one === '..' || one.includes('\\')),
            reading,
          ).toBe(false);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

/** What servers make of a path: parameters dropped before, between or after up to two rounds of decoding. */
function readingsOf(path: string): ReadonlySet<string> {
  const decode = (text: string) =>
    text.replace(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const drop = (text: string) => text.replace(/;[^/]*/g, '');
  const readings = new Set([path]);
  for (let round = 0; round < 2; round += 1) {
    for (const reading of [...readings]) readings.add(drop(reading));
    for (const reading of [...readings]) readings.add(decode(reading));
  }
  for (const reading of [...readings]) readings.add(drop(reading));
  return readings;
}
