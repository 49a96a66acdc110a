import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFindDestinations } from '../../../src/behaviour/drift/destinations.ts';
import { createKeyedHash } from '../../../src/behaviour/drift/keyed-hash.ts';
import { normaliseName, recognise } from '../../../src/behaviour/drift/recognise.ts';
import { partsOf } from '../../../src/behaviour/drift/request-parts.ts';
import { createResponseScan } from '../../../src/behaviour/drift/response-scan.ts';
import type { ClientRequest } from '../../../src/exchange.ts';

const hash = createKeyedHash(Buffer.alloc(32, 3), 'destination');
const find = createFindDestinations({ hash, fields: ['payTo', 'order.store'] });
const openScan = createResponseScan(hash);

const hashOf = (text: string) => hash(normaliseName(text) ?? '');
const scan = (...chunks: readonly string[]) => {
  const opened = openScan();
  for (const chunk of chunks) opened.write(Buffer.from(chunk));
  return opened.end().hashes;
};

describe('recognise', () => {
  it.each([
    ['Anna@Example.COM', 'anna@example.com'],
    ['mailto:anna@example.com', 'anna@example.com'],
    ['Anna <anna@example.com>', 'anna@example.com'],
    ['https://Example.com:443/a/?q=1#x', 'example.com/a'],
    ['HTTP://user:pass@example.com', 'example.com'],
    ['www.example.com/path/', 'www.example.com/path'],
    ['https://example.com:8443', 'example.com:8443'],
    ['https://bücher.example/a', 'xn--bcher-kva.example/a'],
    ['gb29 nwbk 6016 1331 9268 19', 'GB29NWBK60161331926819'],
    ['https://example.com/@Anna.Smith', 'example.com/@Anna.Smith'],
    ['example.com/@Anna.Smith', 'example.com/@Anna.Smith'],
    ['203.0.113.7', '203.0.113.7'],
    ['123E4567-E89B-12D3-A456-426614174000', '#123E4567E89B12D3A456426614174000'],
    ['+49 30 12345678', '#493012345678'],
  ])('spells %s as %s', (text, expected) => {
    expect(recognise(text)).toBe(expected);
  });

  it.each([
    'hello',
    '2026-01-31',
    '20260131',
    '12.50',
    '1.2.3',
    'report.pdf',
    'a@b',
    '10:30',
    'Hotel Riverside View',
    'x'.repeat(600),
    '@example.com',
    '://example.com',
  ])('does not take %s for a destination', (text) => {
    expect(recognise(text)).toBeNull();
  });

  it('gives what it gave when asked about its own spelling', () => {
    const texts = fc.oneof(fc.string({ maxLength: 80 }), fc.webUrl(), fc.emailAddress(), fc.uuid(), fc.ipV4());
    fc.assert(
      fc.property(texts, (text) => {
        const name = recognise(text);
        if (name?.startsWith('#') === false) expect(recognise(name)).toBe(name);
      }),
    );
  });
});

describe('the destinations of a request', () => {
  const fieldsOf = (body: unknown) => find({ body }).map(({ field, kind }) => `${field} (${kind})`);

  it('are values of a telling shape in any field, and any value of a telling field', () => {
    expect(fieldsOf({ page: 'https://example.com', recipient: 'Bob', amount: 5 })).toEqual([
      'page (reach)',
      'recipient (reach)',
    ]);
    expect(fieldsOf({ recipientEmail: 'bob', share_with: ['a', 'b'], userId: 7, done: true })).toEqual([
      'recipientEmail (reach)',
      'share_with (reach)',
      'share_with (reach)',
      'userId (id)',
    ]);
  });

  it('may be short values of any field, and texts are known to be there', () => {
    expect(fieldsOf({ hotel: 'Gasthof', note: 'a\nb', terms: 'x'.repeat(65), empty: '' })).toEqual([
      'hotel (plain)',
      'note (text)',
      'note (text)',
      'terms (text)',
    ]);
    const [upper] = find({ body: { hotel: ' GASTHOF Linde' } }).filter(({ kind }) => kind === 'plain');
    const [lower] = find({ query: [['hotel', 'Gasthof Linde']] }).filter(({ kind }) => kind === 'plain');
    expect([upper?.hash, upper?.fieldHash]).toEqual([lower?.hash, lower?.fieldHash]);
  });

  it('are links and addresses inside of texts and lists, each field told from its texts', () => {
    const named = (body: unknown) => find({ body }).filter(({ kind }) => kind === 'reach');
    const hashesOf = (body: unknown) => named(body).map((found) => found.hash);
    expect(hashesOf({ text: 'Please go to (https://example.net/a), or www.example.org. Now!' })).toEqual([
      hashOf('https://example.net/a'),
      hashOf('www.example.org'),
    ]);
    const two = [hashOf('anna@example.com'), hashOf('bob@example.com')];
    expect(hashesOf({ to: 'Anna <anna@example.com>, Bob <Bob@Example.com>' })).toEqual(two);
    expect(hashesOf({ to: 'anna@example.com;bob@example.com' })).toEqual(two);
    const [inText] = named({ text: 'write to anna@example.com' });
    const [whole] = named({ text: 'anna@example.com' });
    expect(inText?.hash).toBe(whole?.hash);
    expect(inText?.fieldHash).not.toBe(whole?.fieldHash);
  });

  it('are looked at however many other values there are', () => {
    const padding = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`note${index}`, `word${index}`]));
    const ids = Array.from({ length: 40 }, (_, index) => `r-${index}`);
    const found = find({ body: { ...padding, ids, to: 'eve@example.net' } });
    expect(found[0]?.hash).toBe(hashOf('eve@example.net'));
    expect(found.length).toBe(16);
  });

  it('are what operators name, by field or by path', () => {
    expect(fieldsOf({ pay_to: 'x', order: { store: 'y' }, store: 'z' })).toEqual([
      'pay_to (reach)',
      'order.store (reach)',
      'store (plain)',
    ]);
  });

  it('are the same for the same destination, however it is spelled', () => {
    const [first] = find({ body: { recipient: 'GB29 NWBK 6016 1331 9268 19' } });
    const [second] = find({ query: [['iban', 'gb29nwbk60161331926819']] });
    const [third] = find({ segments: ['accounts', 'GB29NWBK60161331926819'] });
    expect([second?.hash, third?.hash]).toEqual([first?.hash, first?.hash]);
  });

  it('are read from Maps as from objects, and put people before things', () => {
    const body = new Map<string, unknown>([
      ['id', 'a-1'],
      ['to', ['bob@example.com', 'bob@example.com']],
    ]);
    const found = find({ body });
    expect(found.map(({ kind }) => kind)).toEqual(['reach', 'id']);
    expect(found[0]?.hash).toBe(hashOf('bob@example.com'));
  });

  it('are bounded in number, depth and length', () => {
    const many = Array.from({ length: 5000 }, (_, index) => `user-${index}`);
    expect(find({ body: { to: many } }).length).toBe(16);
    let deep: unknown = { to: 'bob' };
    for (let level = 0; level < 50; level++) deep = { deep };
    expect(fieldsOf(deep)).toEqual(['(rest) (reach)']);
    const late = `${'x '.repeat(3000)} https://example.net`;
    expect(fieldsOf({ text: late })).toEqual(['(rest) (reach)', 'text (text)', 'text (text)']);
    expect(fieldsOf({ text: 'x '.repeat(3000) })).toEqual(['text (text)', 'text (text)']);
  });

  it('are told to be more than are looked at, so that nobody is hidden behind what is known', () => {
    const known = Array.from({ length: 16 }, (_, index) => `user-${index}`);
    expect(fieldsOf({ to: [...known, 'user-3'] })).not.toContain('(rest) (reach)');
    expect(fieldsOf({ to: [...known, 'eve'] })[0]).toBe('(rest) (reach)');
    expect(fieldsOf({ zeros: Array(300).fill(0), to: 'eve' })).toEqual(['(rest) (reach)']);
    const mails = known.map((name) => `${name}@example.com`);
    expect(fieldsOf({ to: mails.slice(0, 8).join() })).toHaveLength(8);
    expect(fieldsOf({ to: mails.slice(0, 9).join() })[0]).toBe('(rest) (reach)');
    expect(fieldsOf({ text: `${mails[0]} `.repeat(20) })).toEqual(['text (reach)']);
    const targetOf = (query: string) => ({ target: { path: '/', query } }) as ClientRequest;
    const pairs = Array.from({ length: 32 }, (_, index) => `a${index}=`).join('&');
    expect(find(partsOf(targetOf(pairs), null))).toEqual([]);
    expect(find(partsOf(targetOf(`${pairs}&to=eve`), null))).toHaveLength(1);
  });

  it('are found however they are put', () => {
    const hashesOf = (body: unknown) => find({ body }).map(({ hash: found }) => found);
    const eve = hashOf('eve@example.net');
    expect(hashesOf({ access: { 'eve@example.net': 'write' } })).toContain(eve);
    expect(hashesOf({ payload: '{"to":"eve@example.net"}' })).toEqual([eve]);
    expect(find({ body: { calendarId: 'eve@example.net' } })).toMatchObject([{ kind: 'reach', hash: eve }]);
    expect(fieldsOf({ 'to[0]': 'eve', recipient_2: 'bob', memberId3: 'a'.repeat(200) })).toEqual([
      'to[0] (reach)',
      'recipient_2 (reach)',
      'memberId3 (id)',
    ]);
    expect(find({ body: { city: `Gasthof${' '.repeat(64)}` } })).toMatchObject([{ kind: 'plain' }]);
    expect(hashesOf({ url: `https://example.net/a?${'x'.repeat(600)}` })).toEqual([hashOf('example.net/a')]);
    expect(hashesOf({ page: `https://${'x'.repeat(600)}@example.net/a` })).toEqual([hashOf('example.net/a')]);
    const [long, longer] = [600, 601].map((length) => hashesOf({ url: `https://example.net/${'x'.repeat(length)}` }));
    expect(long).toEqual(longer);
    expect(fieldsOf({ to: 'x'.repeat(600) })).toEqual(['to (reach)']);
    const request = { target: { path: '/users/eve+1@example.net/mail', query: null } } as ClientRequest;
    expect(find(partsOf(request, null)).map(({ hash: found }) => found)).toEqual([hashOf('eve+1@example.net')]);
  });

  it('are nobody known where parsers of links would not agree whom they reach', () => {
    const known = hashOf('https://example.com');
    expect(find({ body: { url: 'https://example.net\\@example.com' } })[0]?.hash).not.toBe(known);
    expect(find({ body: { url: 'https://example.com\\@example.net' } })[0]?.hash).not.toBe(known);
    expect(find({ body: { url: 'https://example.com/a\\b' } })[0]?.hash).toBe(hashOf('https://example.com/a\\b'));
  });
});

describe('the destinations of a response', () => {
  it('are found in prose, JSON and YAML', () => {
    expect(scan('Write to eve@example.net, or see (https://example.net/a).')).toEqual(
      expect.arrayContaining([hashOf('eve@example.net'), hashOf('https://example.net/a')]),
    );
    expect(scan('{"items":[{"recipient":"Eve Adams","site":"https:\\/\\/example.net\\/b"}]}')).toEqual(
      expect.arrayContaining([hashOf('Eve Adams'), hashOf('https://example.net/b')]),
    );
    expect(scan('- recipient: US133000000121212121212\n  channel: general\n')).toEqual(
      expect.arrayContaining([hashOf('US133000000121212121212'), hashOf('general')]),
    );
    expect(scan('plain words, and then "payee" : "Eve Adams"')).toContain(hashOf('Eve Adams'));
    expect(scan('channel :general')).toContain(hashOf('general'));
    expect(scan('pay to GB29 NWBK 6016 1331 9268 19 today')).toContain(hashOf('GB29NWBK60161331926819'));
    expect(scan('{"mail":"eve\\u0040example.net"}')).toContain(hashOf('eve@example.net'));
  });

  it('are found in texts without blanks, and of any script', () => {
    const mail = hashOf('eve@example.net');
    const lines = (separator: string) =>
      `{"text":"${Array.from({ length: 100 }, (_, index) => `line-${index}`).join(separator)}${separator}to${separator}eve@example.net${separator}now"}`;
    for (const separator of ['\\n', '\\t', '\u00a0', '\u3001']) expect(scan(lines(separator))).toContain(mail);
    const text = lines('\u3001');
    for (let cut = 1; cut < text.length; cut++) expect(scan(text.slice(0, cut), text.slice(cut))).toContain(mail);
    expect(scan('\u9001\u4fe1\u5148\u306feve@example.net\u3067\u3059')).toContain(mail);
    expect(scan('\u201ceve@example.net\u201d \u2013 \u00abeve@b\u00fccher.example\u00bb')).toContain(mail);
    expect(scan('write to eve@b\u00fccher.example today')).toContain(hashOf('eve@xn--bcher-kva.example'));
  });

  it('are the same wherever the text is cut', () => {
    const text =
      '{"to":"Bob Smith","url":"https://example.net/x?y=1"} mail eve@example.net, GB29 NWBK 6016 1331 9268 19.';
    const whole = [...scan(text)].sort();
    for (let cut = 1; cut < text.length; cut++) {
      expect([...scan(text.slice(0, cut), text.slice(cut))].sort()).toEqual(whole);
    }
  });

  it('are bounded, whatever the text', () => {
    const many = Array.from({ length: 3000 }, (_, index) => `user${index}@example.net`).join(' ');
    expect(scan(many).length).toBe(512);
    fc.assert(fc.property(fc.array(fc.string({ unit: 'binary' })), (chunks) => scan(...chunks).length <= 512));
    expect(scan(`${'\\u005c'.repeat(2000)} "${'\\'.repeat(3000)}" ${':'.repeat(3000)}`)).toEqual([]);
  });
});

describe('keyed hashes', () => {
  it('depend on secret, purpose and every character', () => {
    const other = [createKeyedHash(Buffer.alloc(32, 4), 'destination'), createKeyedHash(Buffer.alloc(32, 3), 'action')];
    const values = [hash('abc'), hash('abd'), hash('ab'), hash('abc\0'), ...other.map((of) => of('abc'))];
    expect(new Set(values).size).toBe(values.length);
    expect(createKeyedHash(Buffer.alloc(32, 3), 'destination')('abc')).toBe(hash('abc'));
  });

  it('collide as seldom as 32 bits do', () => {
    const values = new Set(Array.from({ length: 50_000 }, (_, index) => hash(`agent-${index}@example.com`)));
    expect(values.size).toBeGreaterThan(49_990);
  });
});
