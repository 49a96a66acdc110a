import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFindOperation, shapeOf } from '../../../src/behaviour/actions/path-trie.ts';

const finder = (...operations: readonly string[]) =>
  createFindOperation(
    operations.map((operation) => {
      const [method = '', template = ''] = operation.split(' ');
      return { method, template, name: operation };
    }),
  );

describe('createFindOperation', () => {
  const find = finder(
    'GET /pets',
    'POST /pets',
    'GET /pets/{petId}',
    'DELETE /pets/{petId}',
    'GET /pets/mine',
    'GET /pets/{petId}/toys/{toyId}',
    'GET /pets/mine/toys/favourite',
    'GET /files/{name}.json',
    'GET /files/{name}',
    'GET /compare/{base}...{head}',
    'POST /jobs/{id}:cancel',
    'GET /a%20b/{x}',
    'GET /',
  );

  it.each([
    ['GET', '/pets', 'GET /pets'],
    ['GET', '/pets/7', 'GET /pets/{petId}'],
    ['GET', '/pets/mine', 'GET /pets/mine'],
    ['GET', '/pets/mine/toys/favourite', 'GET /pets/mine/toys/favourite'],
    // Turns back from the literal.
    ['GET', '/pets/mine/toys/ball', 'GET /pets/{petId}/toys/{toyId}'],
    ['DELETE', '/pets/mine', 'DELETE /pets/{petId}'],
    ['GET', '/files/a.json', 'GET /files/{name}.json'],
    ['GET', '/files/a.yaml', 'GET /files/{name}'],
    ['GET', '/files/.json', 'GET /files/{name}'],
    ['GET', '/compare/main...topic', 'GET /compare/{base}...{head}'],
    ['POST', '/jobs/7:cancel', 'POST /jobs/{id}:cancel'],
    ['POST', '/jobs/7%3Acancel', 'POST /jobs/{id}:cancel'],
    ['GET', '/a%20b/c', 'GET /a%20b/{x}'],
    ['GET', '/', 'GET /'],
    ['HEAD', '/pets/7', 'GET /pets/{petId}'],
  ])('finds %s %s as %s', (method, path, name) => {
    expect(find(method, path)).toBe(name);
  });

  it.each([
    ['PUT', '/pets'],
    ['HEAD', '/jobs/7:cancel'],
    ['GET', '/pets/'],
    ['GET', '/pets/7/'],
    ['GET', '/pets/7/toys'],
    ['GET', '/Pets'],
    ['GET', '/compare/main...'],
    ['GET', '/compare/...topic'],
    ['POST', '/jobs/:cancel'],
    ['GET', '/pets/7/toys/8/9'],
    ['get', '/pets'],
    ['GET', '/constructor'],
    ['GET', '/__proto__'],
  ])('finds nothing for %s %s', (method, path) => {
    expect(find(method, path)).toBeNull();
  });

  it('finds the same whatever the order of the operations', () => {
    const templates = ['/{a}/b', '/a/{b}', '/a/b', '/{a}/{b}', '/x{a}/b', '/{a}y/b', '/{a}.{b}/b', '/x{a}y/{b}'];
    const operations = templates.map((template) => `GET ${template}`);
    const text = fc.constantFrom('a', 'b', 'xay', 'xy', 'x.y', 'y', 'x');
    fc.assert(
      fc.property(fc.shuffledSubarray(operations, { minLength: 8 }), text, text, (shuffled, one, other) => {
        const path = `/${one}/${other}`;
        expect(finder(...shuffled)('GET', path)).toBe(finder(...operations)('GET', path));
      }),
    );
  });

  it('finds what its own templates give', () => {
    const literal = fc.stringMatching(/^[a-z]{1,5}$/);
    const template = fc.array(fc.oneof(literal, fc.constant('{p}')), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.array(template, { minLength: 1, maxLength: 20 }), fc.nat(), (templates, pick) => {
        const paths = templates.map((segments) => `/${segments.join('/')}`);
        const chosen = paths[pick % paths.length] ?? '';
        const found = finder(...paths.map((path) => `GET ${path}`))('GET', chosen.replaceAll('{p}', '0'));
        expect(found).toBe(`GET ${chosen}`);
      }),
    );
  });

  it('visits each node once however often it turns back', () => {
    const deep = Array.from({ length: 60 }, (_, depth) => `GET ${'/a'.repeat(depth)}${'/{p}'.repeat(60 - depth)}/end`);
    const many = finder(...deep);
    const startedMs = performance.now();
    expect(many('GET', '/a'.repeat(60))).toBeNull();
    expect(many('GET', `${'/a'.repeat(60)}/end`)).toBe(`GET ${'/a'.repeat(59)}/{p}/end`);
    expect(performance.now() - startedMs).toBeLessThan(100);
  });
});

describe('shapeOf', () => {
  it('is the same for templates that take the same paths', () => {
    expect(shapeOf('/pets/{a}/x')).toBe(shapeOf('/pets/{b}/x'));
    expect(shapeOf('/pets/{a}.json')).not.toBe(shapeOf('/pets/{a}'));
    expect(shapeOf('/pets/%7Ea')).toBe(shapeOf('/pets/~a'));
  });
});
