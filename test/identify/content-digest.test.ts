import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { matchesDigests, readContentDigest } from '../../src/identify/content-digest.ts';

const digest = (algorithm: string, text: string) => createHash(algorithm).update(text).digest('base64');
const sha256 = (text: string) => `sha-256=:${digest('sha256', text)}:`;
const sha512 = (text: string) => `sha-512=:${digest('sha512', text)}:`;

/** Whether a claim is taken, and holds for this body. */
function holds(claim: unknown, body: string): boolean | string {
  const digests = readContentDigest(claim);
  return typeof digests === 'string' ? digests : matchesDigests(Buffer.from(body), digests);
}

describe('content_digest', () => {
  it('takes the digest of RFC 9530 appendix D for its body', () => {
    expect(holds('sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:', '{"hello": "world"}')).toBe(true);
  });

  it.each([
    ['sha-256', sha256('abc')],
    ['sha-512', sha512('abc')],
    ['both', `${sha256('abc')}, ${sha512('abc')}`],
    ['both, without and with blanks around the comma', `${sha512('abc')}\t , \t${sha256('abc')}`],
    ['one beside an algorithm that nobody knows', `${sha256('abc')},crc32c=:AAAA:`],
  ])('holds for the very bytes and for no others: %s', (_name, claim) => {
    expect(holds(claim, 'abc')).toBe(true);
    expect(holds(claim, 'abd')).toBe(false);
    expect(holds(claim, 'abc ')).toBe(false);
    expect(holds(claim, '')).toBe(false);
  });

  it('holds only where every known digest does', () => {
    expect(holds(`${sha256('abc')}, ${sha512('abd')}`, 'abc')).toBe(false);
    expect(holds(`${sha256('abd')}, ${sha512('abc')}`, 'abc')).toBe(false);
  });

  it('holds for no body', () => {
    expect(holds(sha256(''), '')).toBe(true);
    expect(holds(sha256('abc'), '')).toBe(false);
  });

  const good = digest('sha256', 'abc');
  it.each<[string, unknown]>([
    ['no string', 7],
    ['null', null],
    ['a list', [sha256('abc')]],
    ['an object', { 'sha-256': good }],
    ['nothing', ''],
    ['a bare digest', good],
    ['no colons', `sha-256=${good}`],
    ['an upper-case name', `SHA-256=:${good}:`],
    ['parameters', `sha-256=:${good}:;q=1`],
    ['a blank around the equals sign', `sha-256 = :${good}:`],
    ['a comma at its end', `${sha256('abc')},`],
    ['a comma at its beginning', `,${sha256('abc')}`],
    ['one name twice', `${sha256('abc')}, ${sha256('abc')}`],
    ['an unknown name twice', `${sha256('abc')}, md5=:AAAA:, md5=:AAAA:`],
    ['an unknown member that is no byte sequence', `${sha256('abc')}, a=1`],
    ['an algorithm that is broken', 'md5=:kAFQmDzST7DWlj99KOF/cg==:'],
    ['unknown algorithms only', 'sha3-256=:AAAA:, crc32c=:AAAA:'],
    ['base64 without its padding', `sha-256=:${good.replace('=', '')}:`],
    ['base64url', `sha-256=:${good.replaceAll('+', '-').replaceAll('/', '_').replace('=', '')}:`],
    ['base64 with bits that stand for nothing', `sha-256=:${good.slice(0, -2)}1=:`],
    ['a digest of another length', `sha-256=:${digest('sha512', 'abc')}:`],
    ['hexadecimal', `sha-256=:${createHash('sha256').update('abc').digest('hex')}:`],
    ['a line end', `${sha256('abc')}\n`],
    ['more than 512 characters', `${sha256('abc')}${' '.repeat(512)}`],
  ])('refuses %s', (_name, claim) => {
    expect(readContentDigest(claim)).toMatch(/^proof content_digest /);
  });
});
