/**
 * What a bench measures, in a process of its own: `plain FILE` forwards with our own listener, vetting, routing and
 * forwarding and nothing else; `verifying FILE` does so after one verification of the signature of the DPoP field, with
 * the key in agent.json beside FILE; `sidecar FILE` is Postern as that configuration has it. Prints its port through the
 * channel to its parent, and answers each message with the CPU time used so far.
 */

import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { compose } from '../src/compose.ts';
import { loadConfig } from '../src/config/load.ts';
import { isDeny } from '../src/decision.ts';
import type { Outcome } from '../src/exchange.ts';
import { createForward } from '../src/forward/forward.ts';
import { createListener } from '../src/listener.ts';
import { createVet } from '../src/receive/vet.ts';
import { createMatchRoute } from '../src/route/match.ts';
import { createRoutes } from '../src/route/routes.ts';

const [, , kind = '', file = ''] = process.argv;
const configuration = await loadConfig(file);
const ports =
  kind === 'sidecar' ? await startSidecar() : { port: await startPlain(kind === 'verifying' ? verification() : null) };
process.on('message', () => process.send?.({ cpu: process.cpuUsage(), rssBytes: process.memoryUsage.rss() }));
process.once('disconnect', () => process.exit(0));
process.send?.(ports);

async function startSidecar() {
  const sidecar = await compose({ configuration, env: {}, logger: pino({ level: 'silent' }) });
  return { port: Number(new URL(sidecar.origin).port), adminPort: Number(new URL(sidecar.adminOrigin).port) };
}

async function startPlain(isSigned: ((proof: string) => boolean) | null): Promise<number> {
  const { config } = configuration;
  const routes = createRoutes(config);
  const vet = createVet({ limits: config.limits, hosts: undefined, trustedProxies: [] });
  const matchRoute = createMatchRoute(routes);
  const { forward } = createForward({
    routes,
    publicOrigin: config.listen.publicOrigin,
    reasonHeader: config.reason.header,
    maxConnections: 256,
    maxWaiting: 4096,
    connectTimeoutMs: 5000,
  });
  const injection = { name: 'none', version: 1, fields: [] };
  const listener = createListener({
    listen: config.listen,
    limits: config.limits,
    refuseConnection: () => '',
    onFault: () => {},
    handle: async (incoming, response) => {
      const request = vet(incoming);
      if (isSigned !== null && !isSigned(String(incoming.headers.dpop)))
        throw new Error('a good signature was refused');
      const route = isDeny(request) ? request : matchRoute(request);
      if (isDeny(request) || isDeny(route)) {
        response.writeHead(400).end();
        return;
      }
      const outcome: Outcome = { status: 0, upstreamStatus: null, bytesIn: 0, bytesOut: 0, end: 'complete' };
      await forward({ request, route, injection, incoming, response, outcome, decisionId: 'none' });
    },
  });
  return listener.start();
}

/** The work that nobody who checks proofs can avoid, and no more of it. */
function verification(): (proof: string) => boolean {
  const jwk = JSON.parse(readFileSync(join(dirname(file), 'agent.json'), 'utf8'));
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' as const };
  return (proof) => {
    const end = proof.lastIndexOf('.');
    return verify('sha256', Buffer.from(proof.slice(0, end)), key, Buffer.from(proof.slice(end + 1), 'base64url'));
  };
}
