/** The sections listen, admin and store. */

import { z } from 'zod';
import { duration } from './units.ts';
import { address, fieldName, origin, path } from './values.ts';

export const listen = z.strictObject({
  address: address.default('0.0.0.0:8080'),
  publicOrigin: origin.describe('The origin that agents call. DPoP htu is compared with it, never with Host.'),
  hosts: z.array(z.string().toLowerCase()).min(1).optional().describe('Accepted Host values; any where absent'),
  tls: z
    .strictObject({
      certFile: path,
      keyFile: path,
      clientCaFile: path.optional(),
      clientCert: z.enum(['none', 'request', 'require']).default('none'),
    })
    .optional(),
  trustedProxies: z
    .array(z.string())
    .default([])
    .describe('Addresses or CIDR ranges whose X-Forwarded-For is believed'),
  clientCertificateField: z
    .strictObject({ format: z.enum(['xfcc', 'client-cert', 'pem']), field: fieldName.optional() })
    .optional()
    .describe('Where trustedProxies say which certificate the client has shown them; ignored from anybody else'),
});

export const admin = z.strictObject({
  address: address.default('127.0.0.1:9901'),
  tokenFile: path.optional().describe('Required unless the address is loopback'),
});

function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname, search, hash } = new URL(text);
  const isRedis = protocol === 'redis:' || protocol === 'rediss:';
  return isRedis && hostname !== '' && search === '' && hash === '' && /^(\/\d{0,5})?$/.test(pathname);
}

const userName = z.string().regex(/^[^\s:@]{1,128}$/, 'must be a user name without blanks, colons or @');

export const store = z
  .strictObject({
    kind: z.enum(['memory', 'redis']).default('memory'),
    url: z
      .string()
      .meta({ pattern: '^rediss?://' })
      .refine(isRedisUrl, 'must be a URL such as redis://redis:6379/0, with nothing after it')
      .optional()
      .describe('One server'),
    sentinels: z.array(address).min(1).max(32).optional().describe('Sentinels that say which server is the primary'),
    sentinelName: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,128}$/, 'must be the name that Sentinel was given for the primary, such as mymaster')
      .optional(),
    sentinelUsername: userName.optional(),
    sentinelPasswordFile: path.optional().describe('Where the Sentinels want a password themselves'),
    cluster: z.array(address).min(1).max(64).optional().describe('Some nodes of a cluster; the others are learnt'),
    username: userName.optional().describe('ACL user; goes before a user name in the URL'),
    passwordFile: path.optional().describe('Read instead of a password in the URL, and again while in use'),
    tls: z
      .strictObject({
        caFile: path.optional().describe('Trusted instead of the usual authorities'),
        certFile: path.optional(),
        keyFile: path.optional(),
        serverName: z.string().min(1).max(253).optional().describe('What every certificate must be for'),
      })
      .optional(),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9:_-]{0,64}$/, 'must be letters, digits, colon, dash or underscore')
      .default('postern:'),
    timeout: duration('5ms', '10s').default(100),
    maxRevocations: z.int().min(1000).max(10_000_000).default(1_000_000).describe('In force at once'),
  })
  .superRefine((value, context) => {
    for (const [key, message] of storeProblems(value)) context.addIssue({ code: 'custom', path: [key], message });
  });

type StoreAccess = {
  readonly kind: 'memory' | 'redis';
  readonly url?: string | undefined;
  readonly sentinels?: readonly string[] | undefined;
  readonly sentinelName?: string | undefined;
  readonly sentinelUsername?: string | undefined;
  readonly sentinelPasswordFile?: string | undefined;
  readonly cluster?: readonly string[] | undefined;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly tls?: { readonly certFile?: string | undefined; readonly keyFile?: string | undefined } | undefined;
};

/** Keys that do not fit together, each with what is wrong with it. */
function storeProblems(value: StoreAccess): readonly (readonly [string, string])[] {
  const places = (['url', 'sentinels', 'cluster'] as const).filter((key) => value[key] !== undefined);
  if (value.kind === 'memory') return places.map((key) => [key, 'has no meaning when store.kind is memory']);
  const problems: (readonly [string, string])[] = places
    .slice(1)
    .map((key) => [key, `cannot be given besides ${places[0]}`]);
  if (places.length === 0) problems.push(['url', 'is required when store.kind is redis (or sentinels, or cluster)']);
  const isSentinel = value.sentinels !== undefined;
  if (isSentinel && value.sentinelName === undefined) problems.push(['sentinelName', 'is required with sentinels']);
  for (const key of ['sentinelName', 'sentinelUsername', 'sentinelPasswordFile'] as const) {
    if (!isSentinel && value[key] !== undefined) problems.push([key, 'has no meaning without sentinels']);
  }
  if (value.sentinelUsername !== undefined && value.sentinelPasswordFile === undefined) {
    problems.push(['sentinelPasswordFile', 'is required with sentinelUsername']);
  }
  if (value.username !== undefined && value.passwordFile === undefined) {
    problems.push(['passwordFile', 'is required with username']);
  }
  if (value.tls !== undefined && value.url?.startsWith('redis:') === true) {
    problems.push(['tls', 'needs a url that begins with rediss://']);
  }
  if ((value.tls?.certFile === undefined) !== (value.tls?.keyFile === undefined)) {
    problems.push(['tls', 'needs certFile and keyFile together']);
  }
  return problems;
}
