/** A real HTTP server of Token Status Lists: signed, right by default, and wrong or away where a test asks for it. */

import { Buffer } from 'node:buffer';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { deflateSync } from 'node:zlib';
import type { SigningKey } from './keys.ts';
import { signJws } from './tokens.ts';

export type ListOptions = {
  readonly bits?: number;
  /** One a token, packed as the draft says; or the bytes as they are. */
  readonly statuses?: readonly number[];
  readonly bytes?: Buffer;
  /** In place of what is made of the above. */
  readonly lst?: string;
  readonly nowMs: number;
  readonly key: SigningKey;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
};

/** Away altogether, or answering with this status or media type. */
export type ListFault = 'hang' | 'reset' | number | string;

export type StatusListServer = {
  readonly origin: string;
  readonly uri: (name: string) => string;
  /** Publishes a list from now on, in place of the one there. */
  readonly publish: (name: string, options: ListOptions) => void;
  /** Publishes any text. */
  readonly publishText: (name: string, text: string) => void;
  readonly setFault: (fault: ListFault | null) => void;
  /** Holds answers back until the returned function is called. */
  readonly hold: () => () => void;
  readonly requests: (name: string) => number;
  readonly close: () => Promise<void>;
};

export async function startStatusListServer(): Promise<StatusListServer> {
  const lists = new Map<string, string>();
  const requests = new Map<string, number>();
  let fault: ListFault | null = null;
  let held: Promise<void> = Promise.resolve();
  const server = createServer(async (incoming, response) => {
    const path = incoming.url ?? '';
    requests.set(path, (requests.get(path) ?? 0) + 1);
    await held;
    if (fault === 'hang') return;
    if (fault === 'reset') return void response.destroy();
    const text = lists.get(path);
    const status = typeof fault === 'number' ? fault : text === undefined ? 404 : 200;
    const type = typeof fault === 'string' ? fault : 'application/statuslist+jwt';
    response.writeHead(status, { 'content-type': type }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const uri = (name: string) => `${origin}/statuslists/${name}`;
  return {
    origin,
    uri,
    publish: (name, options) => void lists.set(`/statuslists/${name}`, mintStatusList(uri(name), options)),
    publishText: (name, text) => void lists.set(`/statuslists/${name}`, text),
    setFault: (next) => {
      fault = next;
    },
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    requests: (name) => requests.get(`/statuslists/${name}`) ?? 0,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A Status List Token; undefined claims and header members are left out. */
export function mintStatusList(uri: string, options: ListOptions): string {
  const { bits = 1, statuses = [], nowMs, key, claims = {}, header = {} } = options;
  const lst = options.lst ?? deflateSync(options.bytes ?? pack(statuses, bits), { level: 9 }).toString('base64url');
  const iat = Math.floor(nowMs / 1000);
  return signJws({
    header: { typ: 'statuslist+jwt', alg: key.algorithm, kid: key.kid, ...header },
    payload: { sub: uri, iat, exp: iat + 86_400, ttl: 60, status_list: { bits, lst }, ...claims },
    key,
  });
}

/** Independent of the code under test: one status after the other, from the least significant bit on. */
function pack(statuses: readonly number[], bits: number): Buffer {
  const binary = statuses.map((status) => status.toString(2).padStart(bits, '0'));
  const bytes: number[] = [];
  for (let first = 0; first < binary.length; first += 8 / bits) {
    const digits = binary
      .slice(first, first + 8 / bits)
      .reverse()
      .join('');
    bytes.push(Number.parseInt(digits, 2));
  }
  return Buffer.from(bytes);
}
