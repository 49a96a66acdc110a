/** What the schema alone cannot say about transmitters of security events. */

import { isLoopback } from '../address.ts';
import type { ConfigurationProblem } from '../errors.ts';
import {
  bearerTokenProblem,
  checkFile,
  checkKeyPair,
  emptyProblem,
  fault,
  isPlainUrl,
  keySetProblem,
  type Path,
} from './check-files.ts';
import type { Config } from './schema.ts';

type Transmitter = Config['signals']['transmitters'][number];

/** `sound` names the sections that are as the file says. */
export function checkSignals(
  { signals, issuers }: Config,
  sound: ReadonlySet<string>,
): readonly ConfigurationProblem[] {
  const { address, keepFor, tls, transmitters } = signals;
  const known = sound.has('issuers') ? issuers.map(({ issuer }) => issuer) : null;
  const needsAddress = address === undefined && transmitters.some(({ push }) => push !== undefined);
  return [
    ...(needsAddress ? [fault(['signals', 'address'], 'is required where a transmitter has a push')] : []),
    ...(sound.has('issuers') && transmitters.length > 0 ? checkKeepFor(keepFor, issuers) : []),
    ...(tls === undefined ? [] : checkKeyPair(['signals', 'tls'], tls)),
    ...transmitters.flatMap((one, index) => checkTransmitter(transmitters, one, index, known)),
  ];
}

/** A token that outlives the revocation of what was issued before an event would work again. */
function checkKeepFor(keepFor: number, issuers: Config['issuers']): readonly ConfigurationProblem[] {
  const outliving = issuers.find(({ tokenMaxLifetime = 0, clockSkew }) => tokenMaxLifetime + clockSkew >= keepFor);
  if (outliving === undefined) return [];
  return [fault(['signals', 'keepFor'], `must be longer than tokens live, by tokenMaxLifetime of ${outliving.issuer}`)];
}

function checkTransmitter(
  all: readonly Transmitter[],
  { name, issuer, jwksUri, jwksFile, push, poll, speaksFor = [] }: Transmitter,
  index: number,
  tokenIssuers: readonly string[] | null,
): readonly ConfigurationProblem[] {
  const path = ['signals', 'transmitters', index];
  const problems = [
    ...checkFile([...path, 'jwksFile'], jwksFile, keySetProblem),
    ...checkFile([...path, 'push', 'tokenFile'], push?.tokenFile, bearerTokenProblem),
    ...checkFile([...path, 'poll', 'tokenFile'], poll?.tokenFile, emptyProblem),
    ...(poll === undefined ? [] : checkEndpoint([...path, 'poll', 'endpoint'], poll.endpoint, issuer)),
  ];
  if (all.findIndex((other) => other.name === name) < index) {
    problems.push(fault([...path, 'name'], 'is declared twice'));
  }
  // Events of one transmitter are told from those of another by their iss.
  if (all.findIndex((other) => other.issuer === issuer) < index) {
    problems.push(fault([...path, 'issuer'], 'is declared twice; give one transmitter both push and poll'));
  }
  if (jwksFile === undefined && jwksUri === undefined && !isPlainUrl(issuer)) {
    problems.push(fault([...path, 'issuer'], 'is no plain http or https URL; give it a jwksUri or a jwksFile'));
  }
  for (const [place, spokenFor] of speaksFor.entries()) {
    if (tokenIssuers === null || tokenIssuers.includes(spokenFor)) continue;
    problems.push(fault([...path, 'speaksFor', place], 'is not among issuers'));
  }
  return problems;
}

/** RFC 8936 §4: our token travels over it. Without TLS only where the transmitter itself has none, or on loopback. */
function checkEndpoint(path: Path, endpoint: string, issuer: string): readonly ConfigurationProblem[] {
  const { protocol, hostname, username, password, hash } = new URL(endpoint);
  if (username + password + hash !== '') return [fault(path, 'must have no credentials and no fragment')];
  const isSafe = protocol === 'https:' || issuer.startsWith('http:') || isLoopback(`${hostname}:80`);
  return isSafe ? [] : [fault(path, 'must be https')];
}
