/** Where Postern listens: `host:port` as it stands in configuration, with IPv6 addresses in brackets. */

import type { AddressInfo, Server } from 'node:net';
import { Fault } from './errors.ts';

export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}

/** What to call, where the port may be another than the one configured: with loopback for the any address. */
export function originOf(scheme: string, address: string, port: number): string {
  const { host } = splitAddress(address);
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `${scheme}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

/** Whether the address can be reached from this machine only. */
export function isLoopback(address: string): boolean {
  const { host } = splitAddress(address);
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** Limits of a listener whose few peers send small requests: that of the admin API, and that of transmitters. */
export const fewPeersLimits = {
  maxHeaderSize: 16_384,
  requestTimeout: 10_000,
  headersTimeout: 5000,
  keepAliveTimeout: 60_000,
  connectionsCheckingInterval: 1000,
};

const remedies: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process has it; stop that one, or name another port',
  EACCES: 'this user may not use that port; name one from 1024 on',
  EADDRNOTAVAIL: 'this machine has no such address; 0.0.0.0 stands for all it has',
};

/** Gives the port that it listens on. Throws a Fault that names the configuration key where it can't. */
export function listenAt(server: Server, address: string, key: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException) => {
      const remedy = remedies[cause.code ?? ''] ?? `${cause.code ?? cause.message}; check the address`;
      reject(new Fault('listen', `cannot listen on ${address} (${key}): ${remedy}`, cause));
    };
    server.once('error', fail);
    server.listen({ ...splitAddress(address), backlog: 1024 }, () => {
      server.off('error', fail);
      resolve((server.address() as AddressInfo).port);
    });
  });
}
