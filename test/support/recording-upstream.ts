/** An upstream of bare connections that reads requests by rules of its own, stricter than any parser, and keeps them. */

import { type RawServer, rawServer } from './raw-http.ts';

export type RecordedRequest = {
  readonly method: string;
  readonly target: string;
  /** Lower-case names and values as they came, in order. */
  readonly fields: readonly (readonly [string, string])[];
  /** Everything up to the empty line. */
  readonly head: string;
  /** Without chunk framing. Bytes as latin1 text. */
  body: string;
  isComplete: boolean;
};

export type RecordingUpstream = {
  readonly port: number;
  /** In order of their heads. */
  readonly requests: readonly RecordedRequest[];
  /** What no proxy may send: bytes that are no request, or are framed in two ways. */
  readonly violations: readonly string[];
  readonly close: () => Promise<void>;
};

const fieldLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)$/;
const requestLine = /^([A-Z]+) (\/[\x21-\x7e]*) HTTP\/1\.1$/;

/** One connection: what is to come next, and what was not understood yet. */
type Reading = { unread: string; current: RecordedRequest | null; bytesLeft: number | 'chunked'; isBroken: boolean };

/** Every answer to the requests of this target: differently framed ones, chosen by the target's length. */
function answerTo({ method, target }: RecordedRequest): { readonly text: string; readonly ends: boolean } {
  const body = method === 'HEAD' ? '' : '{"ok":true}';
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
  switch (target.length % 5) {
    case 0:
      return {
        text: `${head}transfer-encoding: chunked\r\n\r\n${body === '' ? '' : `b\r\n${body}\r\n0\r\nx-trailer: 1\r\n\r\n`}`,
        ends: false,
      };
    case 1:
      return { text: `${head}connection: close\r\n\r\n${body}`, ends: true };
    case 2:
      return {
        text: `HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${head}content-length: 11\r\n\r\n${body}`,
        ends: false,
      };
    default:
      return { text: `${head}content-length: 11\r\nset-cookie: upstream=1\r\n\r\n${body}`, ends: false };
  }
}

export async function startRecordingUpstream(): Promise<RecordingUpstream> {
  const requests: RecordedRequest[] = [];
  const violations: string[] = [];
  const server: RawServer = await rawServer((socket) => {
    const reading: Reading = { unread: '', current: null, bytesLeft: 0, isBroken: false };
    const fail = (why: string, text: string) => {
      reading.isBroken = true;
      violations.push(`${why}: ${JSON.stringify(text.slice(0, 400))}`);
      socket.destroy();
    };
    socket.on('data', (text: string) => {
      reading.unread += text;
      while (!reading.isBroken) {
        if (reading.current === null && !readHead(reading, requests, fail)) return;
        if (!readBody(reading, fail)) return;
        const { current } = reading;
        if (current === null) return;
        current.isComplete = true;
        reading.current = null;
        const { text: answer, ends } = answerTo(current);
        if (reading.unread !== '') return fail('bytes after a request that is not answered yet', reading.unread);
        if (ends) socket.end(answer, 'latin1');
        else socket.write(answer, 'latin1');
      }
    });
  });
  return { port: server.port, requests, violations, close: server.close };
}

type Fail = (why: string, text: string) => void;

/** Whether there is a whole head. */
function readHead(reading: Reading, requests: RecordedRequest[], fail: Fail): boolean {
  const end = reading.unread.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const head = reading.unread.slice(0, end);
  reading.unread = reading.unread.slice(end + 4);
  const [first = '', ...lines] = head.split('\r\n');
  const started = requestLine.exec(first);
  const parsed = lines.map((line) => fieldLine.exec(line));
  if (started === null || parsed.includes(null)) {
    fail('not the head of a request', head);
    return false;
  }
  const fields = parsed.flatMap((match) =>
    match === null ? [] : [[(match[1] ?? '').toLowerCase(), match[2] ?? ''] as const],
  );
  const current = { method: started[1] ?? '', target: started[2] ?? '', fields, head, body: '', isComplete: false };
  requests.push(current);
  reading.current = current;
  const valuesOf = (name: string) => fields.filter(([found]) => found === name).map(([, value]) => value);
  const [lengths, codings] = [valuesOf('content-length'), valuesOf('transfer-encoding')];
  const isFramedOnce = lengths.length + codings.length <= 1;
  if (!isFramedOnce || !lengths.every((text) => /^\d+$/.test(text)) || codings.some((text) => text !== 'chunked')) {
    fail('ambiguous framing', head);
    return false;
  }
  reading.bytesLeft = codings.length === 1 ? 'chunked' : Number(lengths[0] ?? '0');
  return true;
}

/** Whether the body is whole. */
function readBody(reading: Reading, fail: Fail): boolean {
  const { current } = reading;
  if (current === null) return false;
  if (typeof reading.bytesLeft === 'number') {
    const part = reading.unread.slice(0, reading.bytesLeft);
    current.body += part;
    reading.unread = reading.unread.slice(part.length);
    reading.bytesLeft -= part.length;
    return reading.bytesLeft === 0;
  }
  for (;;) {
    const end = reading.unread.indexOf('\r\n');
    if (end < 0) return false;
    const length = reading.unread.slice(0, end);
    if (!/^[0-9a-fA-F]{1,8}$/.test(length)) {
      fail('not the length of a chunk', length);
      return false;
    }
    const size = Number.parseInt(length, 16);
    if (reading.unread.length < end + 2 + size + 2) return false;
    const ending = reading.unread.slice(end + 2 + size, end + 4 + size);
    if (ending !== '\r\n') {
      fail(size === 0 ? 'a trailer' : 'a chunk longer than its length', reading.unread);
      return false;
    }
    current.body += reading.unread.slice(end + 2, end + 2 + size);
    reading.unread = reading.unread.slice(end + 4 + size);
    if (size === 0) return true;
  }
}
