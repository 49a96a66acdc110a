import { Buffer } from 'node:buffer';
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type ReadStatusListOptions, readStatusList, statusAt } from '../../src/identify/status-list.ts';

const nowMs = 1_790_000_000_000;
const iat = nowMs / 1000;
const uri = 'https://login.example.com/statuslists/1';
const options: ReadStatusListOptions = {
  uri,
  issuer: 'https://login.example.com',
  nowMs,
  clockSkewMs: 30_000,
  maxAgeMs: 300_000,
  inflatedBytesMax: 1024,
};
const oneBit = { bits: 1, lst: 'eNrbuRgAAhcBXQ' };
const good = { sub: uri, iat, exp: iat + 3600, ttl: 60, status_list: oneBit };

async function readGood(claims: object = {}) {
  const list = await readStatusList({ ...good, ...claims }, options);
  if (typeof list === 'string') throw new Error(list);
  return list;
}

describe('readStatusList', () => {
  it("unpacks the draft's example of one bit a token", async () => {
    const list = await readGood();
    expect([...list.bytes]).toEqual([0xb9, 0xa3]);
    const statuses = Array.from({ length: 16 }, (_, index) => statusAt(list, index));
    expect(statuses).toEqual([1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
  });

  it("unpacks the draft's example of two bits a token", async () => {
    const list = await readGood({ status_list: { bits: 2, lst: 'eNo76fITAAPfAgc' } });
    expect([...list.bytes]).toEqual([0xc9, 0x44, 0xf9]);
    const statuses = Array.from({ length: 12 }, (_, index) => statusAt(list, index));
    expect(statuses).toEqual([1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
  });

  it.each([
    [4, [0x21, 0xf0], [1, 2, 0, 15]],
    [8, [0, 7, 255], [0, 7, 255]],
  ])('unpacks %i bits a token', async (bits, bytes, statuses) => {
    const list = await readGood({ status_list: { bits, lst: deflateSync(Buffer.from(bytes)).toString('base64url') } });
    expect(statuses.map((_, index) => statusAt(list, index))).toEqual(statuses);
    expect(statusAt(list, statuses.length)).toBeNull();
  });

  it.each([
    ['ttl', {}, 60_000],
    ['maxAge where ttl is longer', { ttl: 86_400 }, 300_000],
    ['maxAge where there is no ttl', { ttl: undefined }, 300_000],
    ['exp where it comes first', { exp: iat + 10 }, 10_000],
    ['a second at least', { ttl: 0.001 }, 1000],
  ])('is good for %s', async (_name, claims, livesMs) => {
    expect((await readGood(claims)).expiresAtMs).toBe(nowMs + livesMs);
  });

  const bomb = deflateSync(Buffer.alloc(1025)).toString('base64url');
  it.each([
    ['sub of another list', { sub: `${uri}0` }, 'sub is not its address'],
    ['sub that is absent', { sub: undefined }, 'sub is not its address'],
    ['iss of another issuer', { iss: 'https://evil.example' }, 'iss is another issuer'],
    ['iat that is absent', { iat: undefined }, 'iat is not a number'],
    ['iat in the future', { iat: iat + 31 }, 'iat is in the future'],
    ['exp that has passed', { exp: iat }, 'exp has passed'],
    ['exp as text', { exp: 'never' }, 'exp is not a number'],
    ['ttl of nothing', { ttl: 0 }, 'ttl is not a positive number'],
    ['ttl below nothing', { ttl: -1 }, 'ttl is not a positive number'],
    ['no list', { status_list: undefined }, 'status_list is not an object'],
    ['bits that the draft does not know', { status_list: { ...oneBit, bits: 3 } }, 'bits is not 1, 2, 4 or 8'],
    ['bits of 16', { status_list: { ...oneBit, bits: 16 } }, 'bits is not 1, 2, 4 or 8'],
    ['lst that is no base64url', { status_list: { bits: 1, lst: 'eNrb+RgAAhcBXQ==' } }, 'lst is not base64url'],
    ['lst that is no ZLIB data', { status_list: { bits: 1, lst: 'AAAA' } }, 'lst is no ZLIB data'],
    ['lst that breaks off', { status_list: { bits: 1, lst: 'eNrbuRgA' } }, 'lst is no ZLIB data'],
    ['lst that inflates too far', { status_list: { bits: 1, lst: bomb } }, 'lst inflates to more than 1024 bytes'],
  ])('refuses %s', async (_name, claims, problem) => {
    expect(await readStatusList({ ...good, ...claims }, options)).toBe(problem);
  });

  it('takes a list that inflates just to the bound', async () => {
    const lst = deflateSync(Buffer.alloc(1024)).toString('base64url');
    expect((await readGood({ status_list: { bits: 8, lst } })).bytes.length).toBe(1024);
  });
});
