import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/schema.ts';
import { createInject, guardProblems } from '../../src/credential/inject.ts';
import { leakForms } from '../../src/credential/leak-forms.ts';
import { createLeakGuard } from '../../src/credential/leak-guard.ts';
import { Secret } from '../../src/credential/secret-text.ts';
import { isDeny } from '../../src/decision.ts';
import type { Injection, Route } from '../../src/exchange.ts';
import type { LeakGuard } from '../../src/leak-search.ts';

const plain = 'sk-live-0123456789abcdef';
const odd = `pä:s+s/w&<d>'"\\ ~!x`;

const guardOf = (...texts: string[]): LeakGuard => createLeakGuard(leakForms(texts));
const base64 = (text: string) => Buffer.from(text).toString('base64');
const hex = (text: string) => Buffer.from(text).toString('hex');
const everyByte = (text: string) => hex(text).replace(/../g, '%$&');

/** What a text becomes on its way through the usual functions. */
const hexOf = (unit: number) => unit.toString(16).padStart(4, '0');

const spellings: readonly (readonly [string, (text: string) => string])[] = [
  ['as it is', (text) => text],
  ['in a field with a scheme', (text) => `Bearer ${text}`],
  ['Base64', base64],
  ['Base64 behind one byte', (text) => base64(`:${text}`)],
  ['Base64 behind two bytes', (text) => base64(`a:${text}`)],
  ['Base64 between others', (text) => base64(`{"key":"${text}","more":1}`)],
  ['Base64 without padding', (text) => base64(text).replaceAll('=', '')],
  ['base64url', (text) => Buffer.from(text).toString('base64url')],
  ['base64url behind one byte', (text) => Buffer.from(`:${text}`).toString('base64url')],
  ['Base64 in a URL', (text) => encodeURIComponent(base64(text))],
  ['Base64 in JSON with slashes escaped', (text) => base64(text).replaceAll('/', '\\/')],
  ['hex', hex],
  ['upper-case hex', (text) => hex(text).toUpperCase()],
  ['a URL component', encodeURIComponent],
  ['a URL component in lower case', (text) => encodeURIComponent(text).replace(/%../g, (one) => one.toLowerCase())],
  ['a form field', (text) => new URLSearchParams({ key: text }).toString()],
  ['every byte in percent encoding', (text) => everyByte(text).toUpperCase()],
  ['every byte in lower-case percent encoding', everyByte],
  ['a JSON string', JSON.stringify],
  ['a JSON string with slashes escaped', (text) => JSON.stringify(text).replaceAll('/', '\\/')],
  [
    'a JSON string in ASCII',
    (text) => JSON.stringify(text).replace(/[^ -~]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`),
  ],
  [
    'HTML',
    (text) =>
      text
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
        .replaceAll('"', '&quot;')
        .replaceAll("'", '&#39;'),
  ],
  [
    'a JSON string with every character escaped',
    (text) => Array.from({ length: text.length }, (_, at) => `\\u${hexOf(text.charCodeAt(at))}`).join(''),
  ],
  [
    'a JSON string with every character escaped in capitals',
    (text) => Array.from({ length: text.length }, (_, at) => `\\u${hexOf(text.charCodeAt(at)).toUpperCase()}`).join(''),
  ],
  ['HTML with every character escaped', (text) => [...text].map((one) => `&#${one.codePointAt(0)};`).join('')],
];

describe('what a secret is found as', () => {
  it.each(spellings)('%s', (_name, spell) => {
    for (const secret of [plain, odd]) {
      const text = `before ${spell(secret)} after`;
      expect(guardOf(secret).search().push(Buffer.from(text)), spell(secret)).toBeNull();
      expect(guardOf(secret).isIn(Buffer.from(text).toString('latin1'))).toBe(true);
    }
  });

  it('needs few searches for a secret of letters, digits and dashes', () => {
    expect(leakForms([plain]).length).toBeLessThanOrEqual(11);
    expect(leakForms([odd]).length).toBeLessThan(80);
  });
});

describe('a search', () => {
  it.each(spellings)('finds it at every place where chunks may meet: %s', (_name, spell) => {
    for (const secret of [plain, odd]) {
      const guard = guardOf(secret);
      const bytes = Buffer.from(`xx${spell(secret)}yy`);
      for (let at = 1; at < bytes.length; at++) {
        const search = guard.search();
        const passed = search.push(bytes.subarray(0, at));
        const rest = passed === null ? null : search.push(bytes.subarray(at));
        expect(rest).toBeNull();
      }
    }
  });

  it('finds it byte by byte, and lets nothing of it pass', () => {
    for (const form of leakForms([plain, odd])) {
      const search = guardOf(plain, odd).search();
      const passed: Buffer[] = [Buffer.alloc(0)];
      let isFound = false;
      for (const byte of form) {
        const safe = search.push(Buffer.of(byte));
        if (safe === null) isFound = true;
        else passed.push(safe);
        if (isFound) break;
      }
      expect(isFound).toBe(true);
      expect(Buffer.concat(passed)).toHaveLength(0);
    }
  });

  it('keeps back what may be its beginning, not a byte more, and gives it with what follows', () => {
    const search = guardOf(plain).search();
    expect(search.push(Buffer.from('data: {"a":1}\n\n'))?.toString()).toBe('data: {"a":1}\n\n');
    expect(search.isClean()).toBe(true);
    expect(search.push(Buffer.from('the key is sk-li'))?.toString()).toBe('the key is ');
    expect(search.isClean()).toBe(false);
    expect(search.push(Buffer.from('on'))?.toString()).toBe('sk-lion');
    expect(search.push(Buffer.from('and sk-live-'))?.toString()).toBe('and ');
    expect(search.rest().toString()).toBe('sk-live-');
    expect(search.rest()).toHaveLength(0);
  });

  it('passes near misses byte for byte, in pieces of every size', () => {
    const text = [...spellings.map(([, spell]) => spell(plain.slice(0, -1)))].join('');
    const bytes = Buffer.from(`${plain.slice(0, 20)}${text}${plain.slice(1)}sk-sk-live-01`);
    for (let size = 1; size < 40; size++) {
      const search = guardOf(plain).search();
      const passed: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) {
        const safe = search.push(bytes.subarray(at, at + size));
        expect(safe).not.toBeNull();
        if (safe !== null) passed.push(safe);
      }
      expect(Buffer.concat([...passed, search.rest()]).equals(bytes)).toBe(true);
    }
  });

  it('finds a secret that begins within another beginning of it', () => {
    const search = guardOf('aabaabaac').search();
    expect(search.push(Buffer.from('xaabaab'))?.toString()).toBe('x');
    expect(search.push(Buffer.from('aab'))?.toString()).toBe('aab');
    expect(search.push(Buffer.from('aac'))).toBeNull();
  });
});

type Inject = Config['credentials'][string]['inject'];

function injectWith(inject: Inject, secrets: { current: Secret | null }) {
  const get = createInject({
    credentials: { key: { from: { env: 'KEY' }, inject } },
    secrets: { current: () => secrets.current, problem: () => null },
  });
  return () => get({ credential: 'key', leakGuard: true } as Route);
}

const header: Inject = { header: 'authorization', value: 'Bearer {secret}' };

describe('the guard of a credential', () => {
  const guardIn = (made: ReturnType<ReturnType<typeof injectWith>>) => {
    if (isDeny(made)) throw new Error(made.cause);
    return made.guard ?? null;
  };

  it('knows the field of basic credentials in its coding, coded once more, and the password alone', () => {
    const guard = guardIn(
      injectWith({ basic: { username: 'postern' } }, { current: new Secret('correct/horse?', 1) })(),
    );
    const field = base64('postern:correct/horse?');
    for (const text of [`Basic ${field}`, encodeURIComponent(field), base64(`Basic ${field}`), 'correct/horse?']) {
      expect(guard?.isIn(`<${text}>`), text).toBe(true);
    }
    expect(guard?.isIn(base64('postern:'))).toBe(false);
  });

  it('knows the secret before this one, for an upstream may still speak of it', () => {
    const secrets = { current: new Secret('first-secret', 1) };
    const inject = injectWith(header, secrets);
    inject();
    secrets.current = new Secret('second-secret', 2);
    expect(['first-secret', 'second-secret'].map((text) => guardIn(inject())?.isIn(text))).toEqual([true, true]);
    secrets.current = new Secret('third-secret', 3);
    const guard = guardIn(inject());
    expect(['first-secret', 'second-secret', 'third-secret'].map((text) => guard?.isIn(text))).toEqual([
      false,
      true,
      true,
    ]);
  });

  it('refuses a secret that would be found by chance, where the route is guarded', () => {
    const secrets = { current: new Secret('7 bytes', 1) };
    expect(injectWith(header, secrets)()).toMatchObject({ effect: 'deny', reason: 'credential_unavailable' });
    const routes = [{ credential: 'key', leakGuard: 'on' }] as unknown as Config['routes'];
    const credentials: Config['credentials'] = { key: { from: { env: 'KEY' }, inject: header } };
    const problems = guardProblems({ routes, credentials }, { current: () => secrets.current });
    expect(problems.map(({ path }) => path)).toEqual([['credentials', 'key', 'from']]);
    expect(problems[0]?.message).not.toContain('7 bytes,');
    secrets.current = new Secret('8 bytes!', 2);
    expect(isDeny(injectWith(header, secrets)())).toBe(false);
    expect(guardProblems({ routes, credentials }, { current: () => secrets.current })).toEqual([]);
    const unguarded = [{ credential: 'key', leakGuard: 'off' }] as unknown as Config['routes'];
    secrets.current = new Secret('short', 3);
    expect(guardProblems({ routes: unguarded, credentials }, { current: () => secrets.current })).toEqual([]);
  });

  it('never prints what it looks for', () => {
    const made = injectWith(header, { current: new Secret(plain, 1) })() as Injection;
    const guard = guardIn(made);
    const search = guard?.search();
    search?.push(Buffer.from(plain.slice(0, -1)));
    const printed = [made, guard, search].flatMap((value) => [inspect(value, { depth: 9 }), JSON.stringify(value)]);
    for (const text of printed) {
      expect(text).not.toContain(plain.slice(0, 8));
      expect(text).not.toContain(hex(plain).slice(0, 8));
      expect(text).not.toContain(hex(plain).replace(/../g, '$& ').slice(0, 20));
    }
  });
});
