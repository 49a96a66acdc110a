/** Values that name someone or something to reach: recognised by their shape, in one spelling whatever they look like. */

import { domainToASCII } from 'node:url';

/** Longer values are no names, save links: those are cut. */
export const valueCharsMax = 512;

/** Labels of letters, digits and inner hyphens (RFC 1123 §2.1), two of them at least. */
const hostShape = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/;
const ipv4Shape = /^\d+\.\d+\.\d+\.\d+$/;
const plainHost = /^[A-Za-z0-9.-]+$/;
/** Endings of file names, which a host without a scheme is not taken to have. */
const fileEndings = new Set(
  'txt md csv json xml html htm pdf png jpg jpeg gif svg doc docx xls xlsx ppt pptx zip gz tar log yaml yml py js ts sh'.split(
    ' ',
  ),
);

/** Begins the spelling of what names a thing rather than someone to reach: UUIDs, long numbers. */
export const idMark = '#';

/**
 * The one spelling of a URL, host, e-mail address, IBAN, UUID or account-like number; null for anything else. Two
 * spellings of the same destination give the same text. Nothing is checked to exist or to have a right checksum.
 */
export function recognise(raw: string): string | null {
  const text = raw.trim();
  if (text.length < 4) return null;
  const scheme = text.indexOf('://');
  // What an agent is to give away makes a link long.
  if (scheme <= valueCharsMax && isScheme(text, scheme)) return normaliseUrl(text, scheme);
  if (text.length > valueCharsMax) return null;
  const at = text.indexOf('@');
  if (at > 0 && text.indexOf('@', at + 1) === -1) {
    const email = normaliseEmail(text, at);
    if (email !== null) return email;
  }
  if (hasDigit(text)) {
    const code = normaliseCode(text);
    if (code !== null) return code;
  }
  return text.includes('.') ? normaliseHostAndPath(text) : null;
}

/** As any other name: what an operator's field holds, or one whose name says that it names someone. */
export function normaliseName(raw: string): string | null {
  const text = raw.trim();
  if (text.length === 0) return null;
  return recognise(text) ?? normalisePlain(text.slice(0, valueCharsMax));
}

const isAscii = /^[ -~]*$/;

/** The one spelling of words: in lower case, without blanks around them. */
export function normalisePlain(text: string): string {
  return (isAscii.test(text) ? text : text.normalize('NFKC')).trim().toLowerCase();
}

function normaliseEmail(text: string, at: number): string | null {
  const from = text.lastIndexOf('<', at) + 1 || (text.startsWith('mailto:') ? 7 : 0);
  const close = text.indexOf('>', at);
  const local = text.slice(from, at);
  const host = normaliseHost(text.slice(at + 1, close === -1 ? text.length : close));
  if (host === null || local.length === 0 || local.length > 64 || !isBare(local)) return null;
  return `${local.toLowerCase()}@${host}`;
}

/** RFC 3986 §3.1: a letter, then letters, digits, plus or minus; not the full stop, which would make a host of it. */
function isScheme(text: string, end: number): boolean {
  for (let index = 0; index < end; index++) {
    const code = text.charCodeAt(index) | 0x20;
    const isLetter = code >= 97 && code <= 122;
    if (!isLetter && (index === 0 || !(isDigit(text.charCodeAt(index)) || '+-'.includes(text[index] ?? ' '))))
      return false;
  }
  return end > 0;
}

/** Scheme and query say little about whom a URL reaches; host, port and path do. */
function normaliseUrl(text: string, scheme: number): string | null {
  const rest = text.slice(scheme + 3);
  const path = rest.search(/[/?#]/);
  const end = path === -1 ? rest.length : path;
  // To WHATWG's parser a backslash ends the host, to RFC 3986's it does not: whom they reach is another.
  if (rest.lastIndexOf('\\', end) !== -1) return rest.slice(0, valueCharsMax);
  // RFC 3986 §3.2.1: what stands before the last at sign says who asks, not whom.
  const begin = rest.lastIndexOf('@', end) + 1;
  return normaliseHostAndPath(rest.slice(begin, begin + valueCharsMax));
}

function normaliseHostAndPath(text: string): string | null {
  let end = 0;
  while (end < text.length && text[end] !== '/' && text[end] !== '?' && text[end] !== '#') end++;
  const authority = text.slice(0, end);
  const colon = authority.lastIndexOf(':');
  const host = normaliseHost(colon === -1 || authority.endsWith(']') ? authority : authority.slice(0, colon));
  if (host === null) return null;
  const port = colon === -1 || authority.endsWith(']') ? '' : authority.slice(colon);
  if (port.length > 6) return null;
  for (let index = 1; index < port.length; index++) if (!isDigit(port.charCodeAt(index))) return null;
  let pathEnd = end;
  while (pathEnd < text.length && text[pathEnd] !== '?' && text[pathEnd] !== '#') pathEnd++;
  while (pathEnd > end && text[pathEnd - 1] === '/') pathEnd--;
  return `${host}${port === ':443' || port === ':80' ? '' : port}${text.slice(end, pathEnd)}`;
}

/** A host name in lower case and A-labels, or an address; null where it has not the shape of one. */
function normaliseHost(raw: string): string | null {
  if (raw.startsWith('[') && raw.endsWith(']')) return raw.length < 48 ? raw.toLowerCase() : null;
  if (raw.length > 253 || raw.length < 4) return null;
  const name = raw.endsWith('.') ? raw.slice(0, -1) : raw;
  // The plain case is decided here: IDNA processing takes a microsecond.
  const host = plainHost.test(name) ? name.toLowerCase() : domainToASCII(name);
  if (!hostShape.test(host)) return null;
  const last = host.slice(host.lastIndexOf('.') + 1);
  if (isAllDigits(last)) return ipv4Shape.test(host) ? host : null;
  return last.length < 2 || fileEndings.has(last) ? null : host;
}

/** IBAN, UUID, long hexadecimal or account-like number, without what people put between their groups. */
function normaliseCode(text: string): string | null {
  if (text.length < 8 || text.length > 64) return null;
  let [digits, letters, hexadecimal] = [0, 0, 0];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x20 || code === 0x2d || (code === 0x2b && index === 0)) continue;
    const lower = code | 0x20;
    if (isDigit(code)) digits++;
    else if (lower >= 97 && lower <= 122) {
      letters++;
      if (lower <= 102) hexadecimal++;
    } else return null;
  }
  if (digits + letters < 8 || (digits < 4 && letters < 16)) return null;
  const compact = text.replaceAll(/[ +-]/g, '').toUpperCase();
  // ISO 13616: two letters, two check digits, then up to 30 letters and digits; mostly digits in fact.
  const startsAsIban = /^[A-Z]{2}\d{2}/.test(compact);
  if (startsAsIban && compact.length >= 15 && compact.length <= 34 && digits >= compact.length / 2) return compact;
  const isHex = letters === hexadecimal;
  // RFC 9562 §4: 32 hexadecimal digits, in five groups or none.
  if (isHex && compact.length === 32) return idMark + compact;
  if (isHex && letters > 0 && compact.length >= 16 && digits >= 4) return idMark + compact;
  if (letters > 0 || isDate(text)) return null;
  return digits >= 8 && digits <= 19 ? idMark + compact : null;
}

/** 2026-01-31 and its like name a day, not an account. */
function isDate(text: string): boolean {
  return text.length >= 8 && text.length <= 10 && /^(?:19|20)\d\d[- ]?[01]\d[- ]?[0-3]\d$/.test(text);
}

/**
 * RFC 5322 §3.2.3 allows a slash here, which next to nobody's address has: `example.com/@name` is a page.
 */
function isBare(text: string): boolean {
  return !/[\0- "(),;/]/.test(text);
}

function hasDigit(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (isDigit(text.charCodeAt(index))) return true;
  return false;
}

function isAllDigits(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (!isDigit(text.charCodeAt(index))) return false;
  return text.length > 0;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}
