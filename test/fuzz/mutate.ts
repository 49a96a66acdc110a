/** Ways to spoil a text or a JSON value, as far as chance goes. */

import type { Random } from '../support/random.ts';

/** Texts that have broken parsers before. */
const scraps = [
  ...[
    '',
    ' ',
    '\t',
    '\n',
    '\r\n',
    '\0',
    '\x7f',
    '\u00ff',
    '\ufeff',
    '\u2028',
    '\u202e',
    'é',
    '🔑',
    '%00',
    '%',
    '\\',
    '"',
    "'",
  ],
  ...['{}', '[]', '{', '}', '[', ']', ':', ',', '.', '..', '/', '//', '?', '#', '&', '*', '!', '|', '>', '- ', '---\n'],
  ...[
    'null',
    'true',
    'NaN',
    'Infinity',
    '-0',
    '1e400',
    '9007199254740993',
    '-9223372036854775808',
    '0x10',
    '1_000',
    '00',
  ],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length', '<script>', '../../etc/passwd', '=', '=='],
];

export function mutateText(random: Random, text: string, dictionary: readonly string[] = scraps, other = ''): string {
  let mutated = text;
  for (let count = random.pick([1, 1, 1, 2, 3, 6]); count > 0; count--)
    mutated = spoil(random, mutated, dictionary, other);
  return mutated.toWellFormed();
}

function spoil(random: Random, text: string, dictionary: readonly string[], other: string): string {
  const at = random.below(text.length + 1);
  const end = Math.min(text.length, at + random.pick([1, 1, 2, 4, 16, 200]));
  switch (random.below(10)) {
    case 0:
      return at === text.length ? text : text.slice(0, at) + flipped(text, at, random.below(8)) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + String.fromCharCode(random.below(random.pick([128, 256, 0x3000]))) + text.slice(at);
    case 2:
      return text.slice(0, at) + text.slice(end);
    case 3:
      return text.slice(0, end) + text.slice(at, end) + text.slice(end);
    case 4:
    case 5:
      return text.slice(0, at) + random.pick(dictionary) + text.slice(at);
    case 6:
      return text.slice(0, at) + random.pick(dictionary) + text.slice(end);
    case 7: {
      const from = random.below(other.length + 1);
      return text.slice(0, at) + other.slice(from, from + random.below(200)) + text.slice(end);
    }
    case 8:
      return random.percent(30)
        ? text.slice(0, at)
        : text.slice(0, at) + swapped(text.slice(at, end)) + text.slice(end);
    default:
      return (
        text.slice(0, at) + random.pick([...dictionary, 'a']).repeat(random.pick([2, 8, 40, 300])) + text.slice(at)
      );
  }
}

function flipped(text: string, at: number, bit: number): string {
  return String.fromCharCode(text.charCodeAt(at) ^ (1 << bit));
}

function swapped(text: string): string {
  return text === text.toLowerCase() ? text.toUpperCase() : text.toLowerCase();
}

type Json = unknown;

/** Another value: members changed, dropped, added, moved or wrapped. Leaves the original alone. */
export function mutateJson(random: Random, value: Json, oddities: readonly Json[] = oddValues): Json {
  if (Array.isArray(value)) {
    const items: Json[] = [...value];
    const at = random.below(items.length + 1);
    switch (random.below(5)) {
      case 0:
        items.splice(at, 1);
        return items;
      case 1:
        items.splice(at, 0, random.pick(oddities));
        return items;
      case 2:
        return random.pick(oddities);
      case 3:
        return Array.from({ length: random.pick([2, 70, 300]) }, () => items[at] ?? 'x');
      default:
        return items.map((item, index) => (index === at ? mutateJson(random, item, oddities) : item));
    }
  }
  if (typeof value === 'object' && value !== null) return mutateObject(random, value as Record<string, Json>, oddities);
  if (typeof value === 'string' && random.percent(50)) return mutateText(random, value);
  if (typeof value === 'number' && random.percent(60))
    return value + random.pick([1, -1, 0.5, 60, -61, 11, 300, -301, 1e10, -1e300]);
  return random.pick(oddities);
}

function mutateObject(random: Random, object: Readonly<Record<string, Json>>, oddities: readonly Json[]): Json {
  const names = Object.keys(object);
  if (names.length === 0)
    return random.percent(50) ? random.pick(oddities) : { [random.pick(oddNames)]: random.pick(oddities) };
  const name = random.pick(names);
  const { [name]: taken, ...rest } = object;
  switch (random.below(8)) {
    case 0:
      return rest;
    case 1:
      return { ...object, [random.pick(oddNames)]: random.pick(oddities) };
    case 2:
      return { ...rest, [mutateText(random, name)]: taken };
    case 3:
      return { ...object, [name]: random.pick(oddities) };
    case 4:
      return { ...object, [name]: random.percent(50) ? [taken] : { [name]: taken } };
    case 5:
      return { ...object, [random.pick(names)]: taken };
    default:
      return { ...object, [name]: mutateJson(random, taken, oddities) };
  }
}

const nested = (depth: number): Json => {
  let value: Json = 'x';
  for (let at = 0; at < depth; at++) value = at % 2 === 0 ? [value] : { a: value };
  return value;
};

export const oddValues: readonly Json[] = [
  ...[null, true, false, 0, 1, -1, 0.5, 1e300, -1e300, 2 ** 53, '', ' ', 'x', 'null', 'x'.repeat(300), '\0', 'é', '🔑'],
  ...[[], {}, [[]], [{}], ['x'], { a: 1 }, [null], ['x', 1], nested(10), nested(40)],
];

const oddNames = [
  '',
  'x',
  'constructor',
  'toString',
  '__proto__x',
  'a.b',
  'iat',
  'exp',
  'nbf',
  'jti',
  'cnf',
  'act',
  'typ',
  'crit',
  'b64',
];

/** JSON text of the value, now and then with what only a text can have. */
export function writeJson(random: Random, value: Json): string {
  const text = JSON.stringify(value) ?? 'null';
  if (random.percent(85)) return text;
  switch (random.below(8)) {
    case 0:
      return `\ufeff${text}`;
    case 1:
      return `${text.slice(0, -1)},${text.slice(1)}`;
    case 2:
      return text.replace(/"([a-z])/, (_all, letter: string) => `"\\u00${letter.charCodeAt(0).toString(16)}`);
    case 3:
      return `{"__proto__":{"a":1},${text.slice(1)}`;
    case 4:
      return text.replace(/\d+/, random.pick(['1e999', '-0', '1E2', '01', '1.', '+1']));
    case 5:
      return ` ${text}\n`;
    case 6:
      return text.replaceAll(',', ' , ');
    default:
      return mutateText(random, text);
  }
}
