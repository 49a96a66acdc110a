/** Calls of the tour: by honest agents through the real client, and by others with whatever they have got hold of. */

import { generateKeyPair, generateProof, type KeyPair } from 'dpop';
import { createAgentClient } from '../agent-client.ts';
import { readVerdict, type Verdict } from '../agent-verdict.ts';
import type { DemoAgent, DemoParts } from './parts.ts';

export type TourAgent = {
  readonly keyPair: KeyPair;
  readonly accessToken: () => Promise<string>;
  readonly call: (path: string, call?: TourCall) => Promise<Verdict>;
  /** A GET whose answer comes bit by bit. */
  readonly stream: (path: string) => Promise<TourStream>;
};

export type TourStream = {
  /** Settles when the first of the body is there, or all of it. */
  readonly begun: Promise<void>;
  readonly ended: Promise<Verdict>;
};

type AdminAnswer = { readonly status: number; readonly body: unknown };

export type TourCall = {
  readonly method?: string;
  readonly body?: string;
  readonly fields?: ReadonlyArray<readonly [string, string]>;
};

/** What a hand-made call presents, rightly or not. */
export type Presented = {
  readonly accessToken: string;
  readonly proof?: string;
};

export type Tour = {
  readonly parts: DemoParts;
  readonly agent: (id: DemoAgent, asks?: { readonly scope?: string; readonly audience?: string }) => Promise<TourAgent>;
  readonly proof: (keyPair: KeyPair, path: string, accessToken: string) => Promise<string>;
  /** A GET that carries exactly what is presented: no client fixes it up. */
  readonly present: (path: string, presented: Presented) => Promise<Verdict>;
  /** Asks the admin API. */
  readonly post: (path: string, body: object) => Promise<AdminAnswer>;
  readonly revoke: (id: DemoAgent, reason: string) => Promise<AdminAnswer>;
  /** Revokes what a human and their agents could still call with, in that many entries. */
  readonly offboard: (owner: string, reason: string) => Promise<AdminAnswer & { readonly entries: number }>;
  /** Revocations made so far. */
  readonly revocations: () => number;
  /** Every answer of Postern so far, in order. */
  readonly verdicts: readonly Verdict[];
  /** Every token and proof that is known to have been sent. None may turn up in a log or metric. */
  readonly sent: ReadonlySet<string>;
};

const timeoutMs = 5000;

export function createTour(parts: DemoParts): Tour {
  const verdicts: Verdict[] = [];
  const sent = new Set<string>();
  let revocations = 0;
  const note = async (response: Response): Promise<Verdict> => {
    const verdict = await readVerdict(response, timeoutMs);
    verdicts.push(verdict);
    return verdict;
  };

  async function agent(id: DemoAgent, asks: { readonly scope?: string; readonly audience?: string } = {}) {
    const known = parts.clients.get(id);
    if (known === undefined) throw new TypeError(`the demo has no client ${id}`);
    const keyPair = await generateKeyPair('ES256');
    const client = createAgentClient({
      issuer: parts.issuer,
      clientId: known.id,
      clientSecret: known.secret,
      scope: asks.scope ?? known.scopes.join(' '),
      resource: asks.audience ?? parts.origin,
      keyPair,
      timeoutMs,
    });
    const accessToken = async () => {
      const token = await client.accessToken();
      sent.add(token);
      return token;
    };
    const call = async (path: string, options: TourCall = {}) => {
      await accessToken();
      const { response } = await client.call(new URL(path, parts.origin), options);
      return note(response);
    };
    const stream = async (path: string): Promise<TourStream> => {
      await accessToken();
      const { response } = await client.call(new URL(path, parts.origin));
      const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
      const watch = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          begin();
          controller.enqueue(chunk);
        },
      });
      const { status, headers } = response;
      const ended = note(new Response(response.body?.pipeThrough(watch) ?? null, { status, headers }));
      return { begun: Promise.race([begun, ended.then(() => {})]), ended };
    };
    return { keyPair, accessToken, call, stream };
  }

  async function present(path: string, { accessToken, proof }: Presented): Promise<Verdict> {
    const headers = new Headers({ authorization: `DPoP ${accessToken}` });
    if (proof !== undefined) headers.set('dpop', proof);
    return note(await fetch(new URL(path, parts.origin), { headers, signal: AbortSignal.timeout(timeoutMs) }));
  }

  async function proof(keyPair: KeyPair, path: string, accessToken: string): Promise<string> {
    const made = await generateProof(keyPair, new URL(path, parts.origin).href, 'GET', undefined, accessToken);
    sent.add(made);
    return made;
  }

  async function post(path: string, body: object): Promise<AdminAnswer> {
    const response = await fetch(new URL(path, parts.adminOrigin), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, body: await response.json() };
  }

  async function revoke(agent: DemoAgent, reason: string): Promise<AdminAnswer> {
    const answer = await post('/v1/revocations', { agent, reason });
    if (answer.status === 201) revocations += 1;
    return answer;
  }

  async function offboard(owner: string, reason: string) {
    const answer = await post(`/v1/owners/${encodeURIComponent(owner)}/offboard`, { reason });
    const { entries: made } = answer.body as { readonly entries?: readonly object[] };
    const entries = made?.length ?? 0;
    revocations += entries;
    return { ...answer, entries };
  }

  return { parts, agent, proof, present, post, revoke, offboard, revocations: () => revocations, verdicts, sent };
}
