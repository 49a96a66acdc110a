import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isJsonObject, parseStrictJson, parseStrictJsonBytes } from '../src/strict-json.ts';

const parse = (text: string, maxDepth = 8) => parseStrictJson(text, { maxDepth });

describe('parseStrictJson', () => {
  it('reads every kind of value', () => {
    expect(parse(' {"a":[1,"x",true,false,null,{"b":-1.5e3}],"":{}} ')).toEqual({
      a: [1, 'x', true, false, null, { b: -1500 }],
      '': {},
    });
    expect(parse('null')).toBeNull();
    expect(parse('"text"')).toBe('text');
    expect(parse('[]')).toEqual([]);
  });

  it.each([
    ['{"a":1,"a":1}'],
    ['{"a":1,"\\u0061":2}'],
    ['{"\\u0061":1,"a":2}'],
    ['{"a\\"":1,"a\\u0022":2}'],
    ['{"a\\\\":1 , "a\\u005c"\n:\t2}'],
    ['{"a":{"b":1,"b":2}}'],
    ['[{"a":1},{"b":{"c":0,"c":0}}]'],
    ['{"a":{"x":1,"y":2},"a":{"x":1,"y":2}}'],
    ['{"":1,"":2}'],
  ])('refuses a repeated member name in %s', (text) => {
    expect(JSON.parse(text)).toBeDefined();
    expect(parse(text)).toBeUndefined();
  });

  it.each([
    ['{"a":1,"A":2}'],
    ['{"a":{"a":{"a":1}},"b":{"a":1}}'],
    ['{"a":"b\\":1,\\"a\\":","b":"a\\\\"}'],
    ['{"a":"{\\"a\\":1}","b":":"}'],
    ['["a","a","a:"]'],
  ])('takes names that only look repeated in %s', (text) => {
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  it.each([
    [''],
    ['{'],
    ['{"a":1,}'],
    ["{'a':1}"],
    ['{"a":01}'],
    ['{"a":NaN}'],
    ['{} {}'],
    ['\ufeff{}'],
    ['{"a":"\n"}'],
    ['{"a":"\\x"}'],
    ['//\n{}'],
    ['{"a":"'],
  ])('refuses malformed text %j', (text) => {
    expect(parse(text)).toBeUndefined();
  });

  it('refuses nesting beyond the limit, in objects and arrays', () => {
    expect(parse('[[{"a":[]}]]', 4)).toEqual([[{ a: [] }]]);
    expect(parse('[[{"a":[]}]]', 3)).toBeUndefined();
    expect(parse('1', 0)).toBe(1);
    expect(parse('{}', 0)).toBeUndefined();
    expect(parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)).toBeUndefined();
  });

  it('refuses a member named __proto__, however it is written', () => {
    expect(parse('{"__proto__":{"isAdmin":true}}')).toBeUndefined();
    expect(parse('{"a":{"\\u005f_proto__":null}}')).toBeUndefined();
    expect(parse('{"a":"__proto__","constructor":1}')).toEqual({ a: '__proto__', constructor: 1 });
  });

  it('takes linear time on quotes and backslashes', () => {
    const text = `{"a":"${'\\\\\\"'.repeat(200_000)}"}`;
    const started = performance.now();
    expect(parse(text)).toBeDefined();
    expect(performance.now() - started).toBeLessThan(1000);
  });

  it('agrees with JSON.parse on whatever has no repeated name, and refuses whatever has one', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.string({ maxLength: 4 }), (text, name) => {
        const value: unknown = JSON.parse(text);
        // The very name, as a member: generated text escapes quotes inside strings.
        const isClean = !/"__proto__"\s*:/.test(text);
        expect(parse(text, 10)).toEqual(isClean ? value : undefined);
        const member = JSON.stringify(name);
        expect(parse(`{${member}:${text},"other ${name.length}":0,${member} :1}`, 11)).toBeUndefined();
      }),
      {
        numRuns: 300,
        examples: [
          ['{"__proto__ ":false}', ''],
          ['{"__proto__":1}', 'a'],
          ['"__proto__"', 'a'],
        ],
      },
    );
  });
});

describe('parseStrictJsonBytes', () => {
  it('refuses bytes that are not UTF-8, and a byte order mark', () => {
    const bytes = (text: string) => Buffer.from(text, 'latin1');
    expect(parseStrictJsonBytes(Buffer.from('{"ä":"€"}'), { maxDepth: 2 })).toEqual({ ä: '€' });
    expect(parseStrictJsonBytes(bytes('{"a":"\xff"}'), { maxDepth: 2 })).toBeUndefined();
    expect(parseStrictJsonBytes(bytes('{"a":"\xc0\xaf"}'), { maxDepth: 2 })).toBeUndefined();
    expect(parseStrictJsonBytes(bytes('\xef\xbb\xbf{}'), { maxDepth: 2 })).toBeUndefined();
  });
});

describe('isJsonObject', () => {
  it('tells objects from everything else', () => {
    expect(isJsonObject({})).toBe(true);
    for (const value of [[], null, 'x', 1, true, undefined]) expect(isJsonObject(value)).toBe(false);
  });
});
