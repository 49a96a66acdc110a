/** Security events from outside (OpenID Shared Signals): a listener for pushes, and pollers for the other streams. */

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Logger } from 'pino';
import { Agent } from 'undici';
import { fewPeersLimits, listenAt, originOf } from './address.ts';
import type { Config } from './config/schema.ts';
import { Fault, StoreFault } from './errors.ts';
import { createKeySets } from './identify/key-sets.ts';
import { createVerifyIssuerJwt } from './identify/verify-issuer-jwt.ts';
import type { Closers } from './lifecycle.ts';
import type { Metrics } from './record/metrics.ts';
import { handleFor } from './revocation/revoke.ts';
import type { Contacts } from './revocation/signals/contacts.ts';
import { startPoller } from './revocation/signals/poll.ts';
import { createAnswerPush, type PushEndpoint } from './revocation/signals/push.ts';
import { createReceive, type ReceiveSet } from './revocation/signals/receive.ts';
import { createMapSubject, type Target } from './revocation/signals/subjects.ts';
import type { RevocationParts } from './revocation-parts.ts';

export type SignalsOptions = {
  readonly config: Config;
  readonly revocation: Pick<RevocationParts, 'mirror' | 'revocations'>;
  readonly contacts: Contacts;
  readonly metrics: Pick<Metrics, 'countSignal'>;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly closers: Closers;
};

type Transmitter = Config['signals']['transmitters'][number];

const keysMaxAgeMs = 600_000;
/** Long: an outage of the transmitter's keys must not keep its revocations out. */
const keysMaxStaleMs = 86_400_000;
const connectTimeoutMs = 5000;
const connectionsMax = 64;

/** Begins to receive. Gives where pushes go, or null where nobody pushes. Throws a Fault where it can't listen. */
export async function startSignals(options: SignalsOptions): Promise<string | null> {
  const { config, contacts, clock, logger, closers } = options;
  const { transmitters } = config.signals;
  if (transmitters.length === 0) return null;
  const keySets = createKeySets({
    issuers: transmitters.map((one) => ({ ...one, keysMaxAge: keysMaxAgeMs, keysMaxStale: keysMaxStaleMs })),
    discovery: 'ssf-discovery',
    clock,
    onChange: ({ issuer, outcome, problem, error }) => {
      if (error !== undefined) logger.error({ err: error, issuer }, 'transmitter keys: an unforeseen fault');
      if (outcome === 'failed') logger.warn({ issuer, problem }, 'transmitter keys could not be fetched');
    },
  });
  closers.add(() => keySets.close());
  const endpoints = new Map<string, PushEndpoint>();
  for (const transmitter of transmitters) {
    const { name, issuer, algorithms, push, poll } = transmitter;
    const keySet = keySets.byIssuer.get(issuer);
    if (keySet === undefined) continue;
    const verify = createVerifyIssuerJwt({ type: 'secevent+jwt', algorithms, keySet });
    const receive = createReception(transmitter, verify, options);
    const onContact = () => contacts.contacted(name);
    if (push !== undefined) {
      endpoints.set(`/v1/signals/${name}`, { receive, readToken: readTokenOf(push.tokenFile), onContact });
    }
    if (poll !== undefined) closers.add(poller(name, poll, receive, options));
  }
  void keySets.warm();
  return endpoints.size === 0 ? null : listen(endpoints, options);
}

function createReception(
  { name, issuer, audience, maxAge, users, agents, speaksFor }: Transmitter,
  verify: Parameters<typeof createReceive>[0]['verify'],
  { config, revocation, contacts, metrics, clock, logger }: SignalsOptions,
): ReceiveSet {
  const tokenIssuers = new Set(config.issuers.map((one) => one.issuer));
  return createReceive({
    issuer,
    audience,
    maxAgeMs: maxAge,
    verify,
    mapSubject: createMapSubject({ users, agents, speaksFor: speaksFor ?? null, tokenIssuers }),
    revocations: revocation.revocations,
    // Another replica may have taken the event that this one takes back.
    entriesOf: async (target: Target) => {
      await revocation.mirror.sync();
      return revocation.mirror.ofHandle(handleFor(target));
    },
    keepForMs: config.signals.keepFor,
    clock,
    count: (event, outcome) => metrics.countSignal(name, event, outcome),
    note: (about, message) => logger.warn({ transmitter: name, ...about }, message),
    onVerification: () => contacts.verified(name),
  });
}

/** Gives what ends it. */
function poller(
  name: string,
  { endpoint, tokenFile, interval, longPoll, timeout, maxEvents }: NonNullable<Transmitter['poll']>,
  receive: ReceiveSet,
  { contacts, logger }: SignalsOptions,
): () => Promise<void> {
  const dispatcher = new Agent({
    connections: 1,
    pipelining: 1,
    connect: { timeout: connectTimeoutMs },
    headersTimeout: timeout,
    bodyTimeout: timeout,
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 60_000,
    maxHeaderSize: 16_384,
  });
  const { close } = startPoller({
    endpoint,
    readToken: readTokenOf(tokenFile),
    receive,
    maxEvents,
    isLongPoll: longPoll,
    intervalMs: interval,
    timeoutMs: timeout,
    dispatcher,
    onContact: () => contacts.contacted(name),
    onFailure: ({ problem, error }) => {
      if (error === undefined) logger.warn({ transmitter: name, problem }, 'security events could not be had');
      else logger.error({ transmitter: name, err: error }, 'an unforeseen fault in taking a security event');
    },
  });
  return async () => {
    await close();
    await dispatcher.destroy();
  };
}

/** Read each time, so that a new token needs no restart. */
function readTokenOf(file: string): () => Promise<string> {
  return async () => {
    try {
      return (await readFile(file, 'utf8')).trim();
    } catch (error) {
      throw new Fault('signals_token', `Token file ${file} could not be read.`, error);
    }
  };
}

async function listen(endpoints: ReadonlyMap<string, PushEndpoint>, options: SignalsOptions): Promise<string> {
  const { config, logger, closers } = options;
  const { address = '', tls } = config.signals;
  const onFault = (fault: unknown) => {
    const isForeseen = fault instanceof StoreFault || fault instanceof Fault;
    if (isForeseen)
      logger.warn({ problem: fault.message }, 'a pushed event could not be taken; it is to be sent again');
    else logger.error({ err: fault }, 'an unforeseen fault in taking a pushed event');
  };
  const answer = createAnswerPush({ endpoints, onFault });
  const server =
    tls === undefined
      ? createServer(fewPeersLimits, answer)
      : createTlsServer({ ...fewPeersLimits, ...keyPairOf(tls), minVersion: 'TLSv1.2' }, answer);
  server.maxConnections = connectionsMax;
  const port = await listenAt(server, address, 'signals.address');
  server.on('error', onFault);
  closers.add(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  logger.info({ port, transmitters: endpoints.size }, 'security events may be pushed');
  return originOf(tls === undefined ? 'http' : 'https', address, port);
}

function keyPairOf({ certFile, keyFile }: NonNullable<Config['signals']['tls']>) {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
}
