import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isValue, templateOf } from '../../../src/behaviour/actions/typed-path.ts';

describe('templateOf', () => {
  it.each([
    ['/', '/'],
    ['/users', '/users'],
    ['/users/4711/keys/', '/users/{id}/keys/'],
    ['/orgs/acme/members/alice@example.com', '/orgs/acme/members/{id}'],
    ['/o/018f2f6e-8d6e-7c3a-9a55-2b1f0c9d7e10/x', '/o/{id}/x'],
    ['/a//b', '/a//b'],
  ])('makes of %s %s', (path, template) => {
    expect(templateOf(path)).toBe(template);
  });

  it('ends after 32 segments', () => {
    expect(templateOf('/a'.repeat(32))).toBe('/a'.repeat(32));
    expect(templateOf('/a'.repeat(33))).toBe(`${'/a'.repeat(32)}/{*}`);
    expect(templateOf('/a'.repeat(4000))).toBe(`${'/a'.repeat(32)}/{*}`);
  });

  it('depends on the path alone, and changes nothing but whole segments', () => {
    const segment = fc.oneof(fc.uuid(), fc.nat().map(String), fc.ulid(), fc.stringMatching(/^[a-z-]{1,12}$/));
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 8 }), (segments) => {
        const parts = templateOf(`/${segments.join('/')}`)
          .slice(1)
          .split('/');
        expect(parts).toHaveLength(Math.max(1, segments.length));
        for (const [index, part] of parts.entries()) expect(['{id}', segments[index] ?? '']).toContain(part);
      }),
    );
  });
});

describe('isValue', () => {
  it.each([
    '0',
    '4711',
    '018f2f6e-8d6e-7c3a-9a55-2b1f0c9d7e10',
    '018F2F6E-8D6E-7C3A-9A55-2B1F0C9D7E10',
    '01ARZ3NDEKTSV4RRFFQ69G5FAV',
    'da39a3ee5e6b4b0d3255bfef95601890afd80709',
    'deadbeefdeadbeef',
    '7c3a9a55',
    '2026-11-22',
    '2026-11-22T05:05:17Z',
    '2026-11-22T05%3A05%3A17%2B01:00',
    'alice@example.com',
    'a.b%40mail.example.com',
    'pi_3MtwBwLkdIwHu7ix28a3tqPa',
    'dGhpcyBpcyBub3QgYSBzZWNyZXQx',
    'eyJhbGciOiJFUzI1NiIs4Q==',
    'x'.repeat(129),
  ])('takes %s for a value', (segment) => {
    expect(isValue(segment)).toBe(true);
  });

  it.each([
    '',
    'x'.repeat(128),
    'users',
    'v1',
    'v2.1',
    'oauth2',
    'pull-requests',
    'deadbeef',
    'facade',
    '@me',
    'me@',
    '@a.b',
    'a@b',
    'a@b.',
    'a@b@c.example',
    'listOAuth2Clients',
    'getUserByIdAndOrganisation',
    'sha-256',
    'report-2026.pdf',
    '2026-11',
    'SOME_LONG_CONSTANT_NAME',
    'installations_and_repositories',
    '018f2f6e-8d6e-7c3a-9a55',
  ])('takes %j for a name', (segment) => {
    expect(isValue(segment)).toBe(false);
  });

  it.each(['%40', '@', 'a', '0-', '.', 'a.'])('is quick on a long segment of %s', (part) => {
    const segment = part.repeat(4000);
    const startedMs = performance.now();
    isValue(segment);
    expect(performance.now() - startedMs).toBeLessThan(50);
  });
});
