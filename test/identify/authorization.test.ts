import { describe, expect, it } from 'vitest';
import { readAuthorization } from '../../src/identify/authorization.ts';
import { clientRequest } from '../support/client-request.ts';

const raw = 'eyJ.a-b_c~d+e/f.g==';
const read = (authorization: string | readonly string[] | undefined, query: string | null = null) =>
  readAuthorization(clientRequest({ query, fields: { authorization } }));

describe('the Authorization field (RFC 9110 §11, RFC 9449 §7)', () => {
  it.each([
    ['DPoP', 'DPoP'],
    ['dpop', 'DPoP'],
    ['DPOP', 'DPoP'],
    ['Bearer', 'Bearer'],
    ['bearer', 'Bearer'],
    ['BEARER', 'Bearer'],
  ])('may write the scheme %s, with one space after it or more', (written, scheme) => {
    expect(read(`${written} ${raw}`)).toEqual({ scheme, raw });
    expect(read(`${written}   ${raw}`)).toEqual({ scheme, raw });
  });

  it('that is not there, or of another scheme, is no token at all', () => {
    for (const authorization of [undefined, '', 'Basic dXNlcjpwYXNz', 'DPoPx abc', 'Negotiate', 'DPoP\tabc']) {
      const answer = read(authorization);
      expect(answer).toMatchObject({ reason: 'token_missing' });
      expect(answer).not.toHaveProperty('challenge');
    }
  });

  it('twice is malformed on every scheme, whatever the two hold', () => {
    for (const authorization of [
      [`DPoP ${raw}`, `DPoP ${raw}`],
      [`DPoP ${raw}`, 'Basic dXNlcjpwYXNz'],
      ['Basic dXNlcjpwYXNz', `Bearer ${raw}`],
    ]) {
      expect(read(authorization)).toMatchObject({ reason: 'request_malformed', challenge: {} });
    }
  });

  it('is malformed where credentials are not token68 after spaces', () => {
    const bad = ['', ' ', `\t${raw}`, ` \t${raw}`, `${raw} x`, `${raw},x`, `"${raw}"`, 'realm="x"', '=', 'a=b', 'ä'];
    for (const credentials of bad) {
      for (const scheme of ['DPoP', 'Bearer']) {
        expect(read(`${scheme} ${credentials}`)).toMatchObject({ reason: 'request_malformed', challenge: { scheme } });
      }
    }
    expect(read('DPoP')).toMatchObject({ reason: 'request_malformed', challenge: { scheme: 'DPoP' } });
  });
});

describe('a token in the query (RFC 9449 §7.1, RFC 9700 §4.3.2)', () => {
  it.each([
    'access_token=x',
    'access_token',
    'a=1&access_token=x',
    'a=1;access_token=x',
    'access%5Ftoken=x',
    '%61ccess_token=x',
    'Access_Token=x',
    'access_token=',
  ])('is refused, also beside a good one: %s', (query) => {
    for (const authorization of [undefined, `DPoP ${raw}`, `Bearer ${raw}`]) {
      expect(read(authorization, query)).toMatchObject({ reason: 'request_malformed', challenge: {} });
    }
  });

  it.each(['token=x', 'my_access_token=x', 'x=access_token', 'access_tokens=x', '', '%', 'a=%zz&%e0%a4=1'])(
    'is not seen where there is none: %j',
    (query) => expect(read(`DPoP ${raw}`, query)).toEqual({ scheme: 'DPoP', raw }),
  );
});
