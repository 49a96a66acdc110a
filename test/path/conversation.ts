/** One connection to a sidecar: requests that the grammar wrote, sent in pieces, and what came back. */

import { setImmediate } from 'node:timers/promises';
import type { Random } from '../support/random.ts';
import { RawClient } from '../support/raw-http.ts';
import { type RawResponse, readResponses } from '../support/raw-responses.ts';
import type { WrittenRequest } from './grammar.ts';

export type Conversation = {
  readonly index: number;
  readonly requests: readonly WrittenRequest[];
  /** All at once, or each when the one before it is answered. */
  readonly isPipelined: boolean;
};

export type Heard = {
  readonly responses: readonly RawResponse[];
  readonly interim: readonly number[];
  readonly rest: string;
  readonly text: string;
  /** Whether the last request of the client, which asks to close, was reached. */
  readonly isWholeHeard: boolean;
};

/** Asks for what is not there and says goodbye: its answer tells that everything before it was left in step. */
const farewell = 'GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
const waitMs = 15_000;

/** Rejects when the sidecar does not end the connection in time. */
export async function converse(port: number, { requests, isPipelined }: Conversation, random: Random): Promise<Heard> {
  const client = new RawClient(port);
  client.socket.setNoDelay(true);
  const methods = [...requests.map(methodAsRead), 'GET'];
  const isTruncated = requests.at(-1)?.isTruncated === true;
  const timer = setTimeout(() => client.socket.destroy(new Error('no end in time')), waitMs);
  let isLate = false;
  client.socket.once('error', (fault) => {
    isLate = fault.message === 'no end in time';
  });
  if (isPipelined) {
    const all = requests.map(({ bytes }) => bytes).join('') + (isTruncated ? '' : farewell);
    await sendInPieces(client, all, random);
  } else {
    for (const [index, { bytes, isTruncated: isCut }] of requests.entries()) {
      await sendInPieces(client, bytes, random);
      if (isCut) break;
      await client.until((text) => readResponses(text, methods, false).responses.length > index);
    }
    if (!isTruncated) client.send(client.socket.writable ? farewell : '');
  }
  if (isTruncated) client.socket.end();
  const text = await client.end();
  clearTimeout(timer);
  if (isLate) throw new Error('the sidecar did not end the connection');
  const heard = readResponses(text, methods, true);
  const last = heard.responses[requests.length];
  return { ...heard, text, isWholeHeard: last?.status === 404 && last.body.includes('"no_route"') };
}

/** Where the parser gives up, nobody knows any more that HEAD was asked. */
function methodAsRead({ method, flaws }: WrittenRequest): string {
  return method === 'HEAD' && flaws.length > 0 ? 'HEAD?' : method;
}

async function sendInPieces(client: RawClient, bytes: string, random: Random): Promise<void> {
  const pieces = random.pick([1, 1, 2, 3, 8, bytes.length < 1500 && random.percent(10) ? bytes.length : 4]);
  const cuts = Array.from({ length: pieces - 1 }, () => random.below(bytes.length));
  if (pieces === bytes.length) cuts.splice(0, cuts.length, ...Array.from({ length: pieces - 1 }, (_, at) => at + 1));
  cuts.sort((one, other) => one - other);
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (!client.socket.writable && !client.socket.connecting) return;
    if (cut > from) client.send(bytes.slice(from, cut));
    from = Math.max(from, cut);
    if (cut < bytes.length) await setImmediate();
  }
}
