/** One question for a Status List Token (draft-ietf-oauth-status-list §8.1). */

import { type Dispatcher, request } from 'undici';
import { Fault } from '../errors.ts';
import { contentTypeOf, discardResponseBody, readResponseBody } from '../whole-body.ts';

/** A list of ten million tokens with half of them revoked takes a quarter of this. */
const documentBytesMax = 8 * 1024 * 1024;
const mediaType = 'application/statuslist+jwt';

/** The token as it was sent, nothing of it verified. Rejects with a Fault. Follows no redirect. */
export async function fetchStatusListToken(uri: string, dispatcher: Dispatcher, timeoutMs: number): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const { statusCode, headers, body } = await request(uri, {
      dispatcher,
      signal,
      method: 'GET',
      headers: { accept: mediaType },
    });
    const isList = statusCode === 200 && contentTypeOf(headers['content-type']) === mediaType;
    if (!isList) {
      discardResponseBody(body);
      const what = statusCode === 200 ? `an answer that is not ${mediaType}` : String(statusCode);
      throw new Fault('status_list', `The status list ${uri} answered ${what}.`);
    }
    const document = await readResponseBody(body, documentBytesMax);
    if (document !== null) return document.toString('latin1').trim();
    throw new Fault('status_list', `The status list ${uri} is larger than ${documentBytesMax} bytes.`);
  } catch (error) {
    if (error instanceof Fault) throw error;
    const what = signal.aborted ? 'took too long' : 'could not be fetched';
    throw new Fault('status_list', `The status list ${uri} ${what}.`, error);
  }
}
