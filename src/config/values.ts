/** Forms of value that several sections of the configuration share. */

import { z } from 'zod';

export const name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, 'must be a lower-case name such as github or calls_per_minute');
export const fieldName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/, 'must be an HTTP field name')
  .transform((text) => text.toLowerCase());
export const method = z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
export const path = z.string().min(1).max(4096);

/** What editors can tell of an address by themselves. */
const webAddress = { pattern: '^[hH][tT][tT][pP][sS]?://\\S+$' };

export const origin = z
  .string()
  .meta(webAddress)
  .superRefine((text, context) => {
    const problem = originProblem(text);
    if (problem !== null) context.addIssue({ code: 'custom', message: problem });
  });

function originProblem(text: string): string | null {
  if (!URL.canParse(text)) return 'must be an origin such as https://api.example.com';
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://';
  if (url.username !== '' || url.password !== '') return 'must not hold credentials; declare them under credentials';
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || text.includes('?') || text.includes('#')) {
    return 'must be an origin only: no path, query or fragment';
  }
  return null;
}

/** `host:port`, with IPv6 addresses in brackets. */
export const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'must be host:port, such as 0.0.0.0:8080')
  .refine((text) => Number(text.slice(text.lastIndexOf(':') + 1)) <= 65_535, 'must have a port of 65535 at most');

export const upstream = z
  .string()
  .meta(webAddress)
  .superRefine((text, context) => {
    if (!URL.canParse(text)) {
      context.addIssue({ code: 'custom', message: 'must be a URL such as https://api.example.com' });
      return;
    }
    const url = new URL(text);
    const isBare = url.search === '' && url.hash === '' && url.username === '' && url.password === '';
    if ((url.protocol !== 'https:' && url.protocol !== 'http:') || !isBare) {
      context.addIssue({
        code: 'custom',
        message: 'must be an http or https URL with no credentials, query or fragment',
      });
    }
  });
