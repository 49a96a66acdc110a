import { describe, expect, it } from 'vitest';
import { createMatchHtu } from '../../src/identify/htu.ts';

const matchHtu = createMatchHtu('https://api.example.com');

describe('createMatchHtu', () => {
  it.each([
    ['https://api.example.com/a/b', '/a/b'],
    ['https://api.example.com/a/b?query=1', '/a/b'],
    ['https://api.example.com/a/b#fragment', '/a/b'],
    ['https://api.example.com/a/b?x#y?z', '/a/b'],
    ['https://api.example.com', '/'],
    ['https://api.example.com/', '/'],
    ['https://api.example.com?query', '/'],
    ['https://api.example.com#fragment', '/'],
    ['HTTPS://API.Example.COM/a', '/a'],
    ['https://api.example.com:443/a', '/a'],
    ['https://api.example.com:/a', '/a'],
    ['https://api.example.com/%7euser/%41', '/~user/A'],
    ['https://api.example.com/caf%c3%a9', '/caf%C3%A9'],
    ['https://api.example.com/a%2fb', '/a%2Fb'],
    ['https://api.example.com/a%2Fb', '/a%2Fb'],
    ['https://api.example.com//a', '//a'],
    ['https://api.example.com/a%2Bb+c', '/a%2Bb+c'],
  ])('takes %s for the path %s', (htu, path) => {
    expect(matchHtu(htu, path)).toBe(true);
  });

  it.each([
    ['', '/'],
    ['/a', '/a'],
    ['//api.example.com/a', '/a'],
    ['api.example.com/a', '/a'],
    ['https:/api.example.com/a', '/a'],
    ['https:api.example.com/a', '/a'],
    ['https:///api.example.com/a', '/a'],
    ['https:\\\\api.example.com/a', '/a'],
    ['http://api.example.com/a', '/a'],
    ['ws://api.example.com/a', '/a'],
    ['ftp://api.example.com/a', '/a'],
    ['https://other.example.com/a', '/a'],
    ['https://api.example.com.evil.test/a', '/a'],
    ['https://api.example.com:8443/a', '/a'],
    ['https://api.example.com:80/a', '/a'],
    ['https://api.example.com:x/a', '/a'],
    ['https://user@api.example.com/a', '/a'],
    ['https://user:pass@api.example.com/a', '/a'],
    ['https://@api.example.com/a', '/a'],
    ['https://evil.test\\@api.example.com/a', '/a'],
    ['https://api.example.com\\a', '/a'],
    ['https://api.exa\tmple.com/a', '/a'],
    ['https://api.exa\nmple.com/a', '/a'],
    [' https://api.example.com/a', '/a'],
    ['https://api.example.com /a', '/a'],
    ['https://api%2Eexample.com/a', '/a'],
    ['https://api.example.com/A', '/a'],
    ['https://api.example.com/a/', '/a'],
    ['https://api.example.com/a', '/a/'],
    ['https://api.example.com/a//b', '/a/b'],
    ['https://api.example.com/a%2fb', '/a/b'],
    ['https://api.example.com/a%252Fb', '/a%2Fb'],
    ['https://api.example.com/a;v=1', '/a'],
    ['https://api.example.com/a/../b', '/b'],
    ['https://api.example.com/a/%2e%2e/b', '/b'],
    ['https://api.example.com/a/%2E./b', '/b'],
    ['https://api.example.com/./b', '/b'],
    ['https://api.example.com/a\\..\\b', '/b'],
    ['https://api.example.com/%', '/'],
    ['https://', '/'],
    ['https://?', '/'],
    ['https://[::1/a', '/a'],
  ])('does not take %j for the path %s', (htu, path) => {
    expect(matchHtu(htu, path)).toBe(false);
  });

  it('normalises the public origin as well', () => {
    expect(createMatchHtu('HTTPS://API.example.com:443/')('https://api.example.com/a', '/a')).toBe(true);
    expect(createMatchHtu('http://localhost:8080')('http://LOCALHOST:8080/a', '/a')).toBe(true);
    expect(createMatchHtu('http://localhost:8080')('http://localhost/a', '/a')).toBe(false);
    expect(createMatchHtu('http://[::1]:8080')('http://[0:0:0:0:0:0:0:1]:8080/a', '/a')).toBe(true);
    expect(createMatchHtu('https://bücher.example')('https://xn--bcher-kva.example/a', '/a')).toBe(true);
    expect(createMatchHtu('https://xn--bcher-kva.example')('https://BÜCHER.example/a', '/a')).toBe(true);
  });
});
