/** One question to an issuer's introspection endpoint (RFC 7662 §2.1): may this token be used, and for what? */

import { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { type Dispatcher, request } from 'undici';
import { Fault } from '../errors.ts';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';
import { contentTypeOf, discardResponseBody, readResponseBody } from '../whole-body.ts';

export type IntrospectionEndpoint = {
  readonly url: string;
  /** Ours, at the issuer. */
  readonly clientId: string;
  /** Read for each question, so that a new secret is used as soon as it is there. */
  readonly clientSecretFile: string;
  /** RFC 6749 §2.3.1: in the Authorization field, or in the form. */
  readonly auth: 'basic' | 'post';
  /** RFC 7662 in plain, or signed (RFC 9701). */
  readonly accept: 'json' | 'jwt';
  /** For the whole exchange, from connecting to the last byte. */
  readonly timeoutMs: number;
};

/** The document of the answer, or null where the issuer says that it would never introspect such a token. */
export type AskIssuer = (token: string) => Promise<Buffer | null>;

export const answerBytesMax = 64 * 1024;
const errorBytesMax = 4096;
const mediaTypes = { json: 'application/json', jwt: 'application/token-introspection+jwt' } as const;
// RFC 7009 §2.2.1 and its like: the issuer faults the token, not us, so no other token fares worse.
const tokenErrors: ReadonlySet<unknown> = new Set(['unsupported_token_type', 'invalid_token', 'invalid_request']);

/** Prepares the questions to one endpoint. Each rejects with a Fault where there is no answer to go by. */
export function createAskIssuer(endpoint: IntrospectionEndpoint, dispatcher: Dispatcher): AskIssuer {
  const { url, timeoutMs, accept } = endpoint;
  return async (token) => {
    const { headers, form } = authenticate(endpoint, await readSecret(endpoint.clientSecretFile));
    form.set('token', token);
    form.set('token_type_hint', 'access_token');
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      // Follows no redirect: the token and the secret go to the configured place only.
      const answer = await request(url, {
        dispatcher,
        signal,
        method: 'POST',
        headers: { ...headers, accept: mediaTypes[accept], 'content-type': 'application/x-www-form-urlencoded' },
        body: form.toString(),
      });
      return await readAnswer(answer, endpoint);
    } catch (error) {
      if (error instanceof Fault) throw error;
      throw new Fault('introspection', `${url} ${signal.aborted ? 'took too long' : 'could not be asked'}.`, error);
    }
  };
}

async function readAnswer(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  { url, accept }: IntrospectionEndpoint,
): Promise<Buffer | null> {
  const type = contentTypeOf(headers['content-type']);
  if (statusCode === 400 && type === mediaTypes.json) {
    const problem = await readResponseBody(body, errorBytesMax);
    const parsed = problem === null ? null : parseStrictJsonBytes(problem, { maxDepth: 4 });
    if (isJsonObject(parsed) && tokenErrors.has(parsed.error)) return null;
    throw new Fault('introspection', `${url} answered 400.`);
  }
  if (statusCode !== 200 || type !== mediaTypes[accept]) {
    discardResponseBody(body);
    const what = statusCode === 200 ? `an answer that is not ${mediaTypes[accept]}` : String(statusCode);
    throw new Fault('introspection', `${url} answered ${what}.`);
  }
  const document = await readResponseBody(body, answerBytesMax);
  if (document === null) throw new Fault('introspection', `${url} answered more than ${answerBytesMax} bytes.`);
  return document;
}

function authenticate({ clientId, auth }: IntrospectionEndpoint, secret: string) {
  if (auth === 'post')
    return { headers: {}, form: new URLSearchParams({ client_id: clientId, client_secret: secret }) };
  const pair = Buffer.from(`${formEncode(clientId)}:${formEncode(secret)}`).toString('base64');
  return { headers: { authorization: `Basic ${pair}` }, form: new URLSearchParams() };
}

/** RFC 6749 §2.3.1: both are form-encoded before they are joined. */
function formEncode(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1);
}

async function readSecret(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new Fault('introspection', `Client secret file ${file} could not be read.`, error);
  }
}
