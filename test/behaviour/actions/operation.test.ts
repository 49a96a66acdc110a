import { describe, expect, it } from 'vitest';
import { createNameOperation } from '../../../src/behaviour/actions/operation.ts';
import { createFindOperation } from '../../../src/behaviour/actions/path-trie.ts';
import { clientRequest, route } from '../../support/client-request.ts';

const find = createFindOperation([{ method: 'GET', template: '/v2/pets/{id}', name: 'getPet' }]);
const name = createNameOperation(new Map([['pets', find]]));
const asked = (path: string, method = 'GET') => clientRequest({ method, path });
const upstream = { origin: 'https://api.example.com', basePath: '/v2' };
const pets = route({ name: 'pets', pathPrefix: '/zoo', stripPrefix: true, upstream });
const tool = (called: string) => ({ method: 'tools/call', tool: { name: called, arguments: undefined } });

describe('createNameOperation', () => {
  it('names the operation of the document by the path that goes upstream', () => {
    expect(name(asked('/zoo/pets/rex'), pets, null)).toBe('getPet');
    expect(name(asked('/v2/pets/rex'), route({ name: 'pets' }), null)).toBe('getPet');
  });

  it('takes the values out of every other path', () => {
    expect(name(asked('/zoo/pets/7', 'PUT'), pets, null)).toBe('PUT /zoo/pets/{id}');
    expect(name(asked('/zoo/pets/7'), route({ name: 'other' }), null)).toBe('GET /zoo/pets/{id}');
  });

  it('names what a JSON-RPC body asks', () => {
    expect(name(asked('/zoo/pets/7'), pets, tool('send'))).toBe('mcp:tools/call:send');
    expect(name(asked('/mcp', 'POST'), pets, { method: 'tools/list', tool: null })).toBe('mcp:tools/list');
    expect(name(asked('/mcp', 'POST'), pets, 'batch')).toBe('mcp:batch');
  });

  it.each(['tools/call:send', 'a b', '', 'x'.repeat(129), 'é'])(
    'lets the method %j pass for nothing else',
    (method) => {
      expect(name(asked('/mcp', 'POST'), pets, { method, tool: null })).toBe('POST /mcp');
    },
  );

  it('is short whatever the name of the tool', () => {
    expect(name(asked('/mcp', 'POST'), pets, tool('x'.repeat(128)))).toBe(`mcp:tools/call:${'x'.repeat(128)}`);
    expect(name(asked('/mcp', 'POST'), pets, tool('x'.repeat(129)))).toBe('mcp:tools/call:{long}');
  });
});
