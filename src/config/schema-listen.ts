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

export const store = z
  .strictObject({
    kind: z.enum(['memory', 'redis']).default('memory'),
    url: z
      .string()
      .meta({ pattern: '^rediss?://' })
      .refine(isRedisUrl, 'must be a URL such as redis://redis:6379/0, with nothing after it')
      .optional(),
    passwordFile: path.optional().describe('Read instead of a password in the URL'),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9:_-]{0,64}$/, 'must be letters, digits, colon, dash or underscore')
      .default('postern:'),
    timeout: duration('5ms', '10s').default(100),
  })
  .superRefine((value, context) => {
    if (value.kind === 'redis' && value.url === undefined) {
      context.addIssue({ code: 'custom', path: ['url'], message: 'is required when store.kind is redis' });
    }
    if (value.kind === 'memory' && value.url !== undefined) {
      context.addIssue({ code: 'custom', path: ['url'], message: 'has no meaning when store.kind is memory' });
    }
  });
