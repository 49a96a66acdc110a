import { describe, expect, it } from 'vitest';
import { createPathMap } from '../../src/forward/paths.ts';
import { publicOrigin, routeTo } from './gateway.ts';

const upstream = 'https://api.example';
const maps = {
  strips: createPathMap(routeTo(upstream), publicOrigin),
  keeps: createPathMap(routeTo(upstream, { stripPrefix: false }), publicOrigin),
  hasBase: createPathMap(routeTo(upstream, { upstream: { origin: upstream, basePath: '/v3' } }), publicOrigin),
  isRoot: createPathMap(routeTo(upstream, { pathPrefix: '/' }), publicOrigin),
};

describe('paths on their way up', () => {
  it.each<[keyof typeof maps, string, string | null, string]>([
    ['strips', '/api/x', null, '/x'],
    ['strips', '/api', null, '/'],
    ['strips', '/api/', '', '/?'],
    ['strips', '/api/x%20y/', 'a=%2f&b', '/x%20y/?a=%2f&b'],
    ['keeps', '/api/x', 'a', '/api/x?a'],
    ['hasBase', '/api/x', null, '/v3/x'],
    ['hasBase', '/api', null, '/v3'],
    ['hasBase', '/api/', null, '/v3/'],
    ['isRoot', '/x', null, '/x'],
    ['isRoot', '/', null, '/'],
  ])('%s: %s ? %s becomes %s', (map, path, query, expected) => {
    expect(maps[map].toUpstream({ path, query })).toBe(expected);
  });
});

describe('a Location on its way down', () => {
  it.each<[keyof typeof maps, string, string | null]>([
    ['strips', 'https://api.example/items/7?a=b#c', 'https://agents.example/api/items/7?a=b#c'],
    ['strips', 'HTTPS://API.example:443/items/7', 'https://agents.example/api/items/7'],
    ['strips', 'https://api.example', 'https://agents.example/api/'],
    ['strips', '/items/7', '/api/items/7'],
    ['strips', '7', '/api/items/7'],
    ['strips', '?page=2', '/api/items/list?page=2'],
    ['strips', '../other', '/api/other'],
    ['keeps', '/api/items/7', '/api/items/7'],
    ['keeps', 'https://api.example/api/7', 'https://agents.example/api/7'],
    ['hasBase', '/v3/items/7', '/api/items/7'],
    ['hasBase', '/v3', '/api'],
    ['isRoot', '/items', '/items'],
    // Outside of what this route shows.
    ['hasBase', '/items/7', null],
    ['hasBase', '/v30/items', null],
    // To another host, in every spelling.
    ['strips', 'https://evil.example/', null],
    ['strips', 'http://api.example/', null],
    ['strips', 'https://api.example:8443/', null],
    ['strips', 'https://api.example.evil.example/', null],
    ['strips', 'https://user:pass@api.example/', null],
    ['strips', '//evil.example/', null],
    ['strips', '/\\evil.example/', null],
    ['strips', '\\\\evil.example/', null],
    ['strips', '\t//evil.example/', null],
    ['strips', 'javascript:alert(1)', null],
    ['strips', 'https://', null],
    // A path that would, alone, name another host.
    ['isRoot', '/.//evil.example/x', 'https://agents.example//evil.example/x'],
  ])('%s: %s becomes %s', (map, location, expected) => {
    const path = map === 'hasBase' ? '/v3/items/list' : '/items/list';
    expect(maps[map].toPublic(location, path)).toBe(expected);
  });
});
