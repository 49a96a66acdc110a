/** Where a body begins and ends, said well and badly. */

import type { Random } from '../support/random.ts';
import { type Flaw, refusedAs } from './grammar-flaws.ts';

export type Framing = {
  readonly lines: string[];
  /** As it stands on the wire. */
  readonly body: string;
  /** As it must arrive. */
  readonly passed: string;
  readonly isTruncated: boolean;
  readonly flaw: Flaw | null;
};

export type FramingOptions = {
  readonly isFlawed: boolean;
  /** HTTP/1.0, which has no chunks. */
  readonly isOld: boolean;
  readonly method: string;
  /** A request to hide in a body. */
  readonly smuggled: () => string;
};

/** The route's limit is to be this. */
export const bodyBytesMax = 4096;

export function writeFraming(random: Random, options: FramingOptions): Framing {
  if (options.isFlawed) return writeBadFraming(random, options);
  const hasBody = random.percent(options.method === 'POST' ? 90 : 10);
  if (!hasBody) return whole(random.percent(10) ? ['content-length: 0'] : [], '', '');
  const body = writeBody(random, options);
  if (options.isOld || random.percent(50)) {
    const zeros = random.percent(10) ? '00' : '';
    return whole([`${random.pick(['content-length', 'Content-Length'])}: ${zeros}${body.length}`], body, body);
  }
  const name = random.pick(['transfer-encoding: chunked', 'Transfer-Encoding: Chunked', 'TRANSFER-ENCODING:chunked']);
  return whole([name], writeChunks(random, body), body);
}

function whole(lines: string[], body: string, passed: string): Framing {
  return { lines, body, passed, isTruncated: false, flaw: null };
}

function writeBody(random: Random, { smuggled }: FramingOptions): string {
  switch (random.below(6)) {
    case 0:
      return smuggled();
    case 1:
      return `0\r\n\r\n${smuggled()}`;
    case 2:
      return '{"a":1,"a":2}';
    case 3:
      return random.text('\r\n\0: \xff', random.between(1, 60));
    case 4:
      return random.text('abc\xe9', random.pick([1, 2, 15, 16, 17, bodyBytesMax]));
    default:
      return Array.from({ length: random.between(1, 300) }, () => String.fromCharCode(random.below(256))).join('');
  }
}

function writeChunks(random: Random, body: string): string {
  let text = '';
  for (let at = 0; at < body.length; ) {
    const size = Math.min(random.between(1, Math.max(1, Math.ceil(body.length / 3))), body.length - at);
    const length = random.percent(50) ? size.toString(16) : `00${size.toString(16).toUpperCase()}`;
    const extension = random.percent(10) ? ';a=b' : '';
    text += `${length}${extension}\r\n${body.slice(at, at + size)}\r\n`;
    at += size;
  }
  const trailer = random.percent(15)
    ? random.pick(['x-trailer: 1\r\n', 'authorization: DPoP x\r\n', 'x-judged: evil\r\n'])
    : '';
  return `${text}0\r\n${trailer}\r\n`;
}

const chunked = 'transfer-encoding: chunked';

function writeBadFraming(random: Random, options: FramingOptions): Framing {
  const { isOld, smuggled } = options;
  const inside = smuggled();
  const head = (lines: string[], body: string): Framing => ({
    ...whole(lines, body, ''),
    flaw: refusedAs(lines.join(' + '), [400], 'must'),
  });
  /** The head is good; what follows is not. */
  const tail = (what: string, lines: string[], body: string, isTruncated = false): Framing => ({
    ...whole(lines, body, ''),
    isTruncated,
    flaw: { ...refusedAs(what, isOld ? [400] : [400, 413, 502], 'must'), isSilent: true },
  });
  const size = (body: string) => body.length.toString(16);
  switch (random.below(5)) {
    case 0:
    case 1:
      return random.pick([
        () => head(['content-length: 3', 'content-length: 4'], 'abcd'),
        () => head(['content-length: 3', 'Content-Length: 3'], 'abc'),
        () => head([`content-length: 0, ${inside.length}`], inside),
        () =>
          head(
            [random.pick(['content-length: +3', 'content-length: 0x3', 'content-length: 3 3', 'content-length: -1'])],
            'abc',
          ),
        () => head([`content-length: ${'9'.repeat(30)}`], inside),
        () => head(['content-length: 5', chunked], `0\r\n\r\n${inside}`),
        () => head([chunked, `content-length: ${inside.length + 5}`], `0\r\n\r\n${inside}`),
        () => head([chunked, chunked], `0\r\n\r\n${inside}`),
        () => head([chunked, 'transfer-encoding: identity'], `0\r\n\r\n${inside}`),
        () =>
          head(
            [
              `transfer-encoding: ${random.pick([
                ...['identity', 'xchunked', 'chunked, chunked', 'gzip, chunked', 'chunked, gzip', '"chunked"'],
                ...['\x0bchunked', 'chunked\x00', 'chunked;a=b', 'chunked,', ', chunked'],
              ])}`,
            ],
            `0\r\n\r\n${inside}`,
          ),
        () => head(['transfer-encoding\t: chunked'], `0\r\n\r\n${inside}`),
        () => head([` ${chunked}`], `0\r\n\r\n${inside}`),
      ])();
    case 2:
      if (isOld) return head([chunked], `0\r\n\r\n${inside}`);
      return random.pick([
        () => tail('a chunk longer than it says', [chunked], `3\r\nabcd\r\n0\r\n\r\n${inside}`),
        () => tail('a chunk whose length is no number', [chunked], `3x\r\nabc\r\n0\r\n\r\n${inside}`),
        () => tail('a blank after the length', [chunked], `3 \r\nabc\r\n0\r\n\r\n${inside}`),
        () => tail('a bare LF after the length', [chunked], `3\nabc\n0\n\n${inside}`),
        () => tail('an overflowing length', [chunked], `${'f'.repeat(17)}\r\nabc\r\n0\r\n\r\n${inside}`),
        () => tail('a negative length', [chunked], `-1\r\nabc\r\n0\r\n\r\n${inside}`),
        () => tail('a bare CR in an extension', [chunked], `3;a\rb\r\nabc\r\n0\r\n\r\n${inside}`),
        () => tail('a bare LF in an extension', [chunked], `3;a\nb\r\nabc\r\n0\r\n\r\n${inside}`),
        () => tail('a length in a trailer', [chunked], `0\r\ncontent-length: 9\r\n\r\n${inside}`),
        () => tail('a trailer that is no field', [chunked], `0\r\nnonsense\r\n\r\n${inside}`),
      ])();
    case 3: {
      const body = 'a'.repeat(bodyBytesMax + random.between(1, 2000));
      const isChunked = !isOld && random.percent(50);
      const framing = isChunked
        ? whole([chunked], `${size(body)}\r\n${body}\r\n0\r\n\r\n`, '')
        : whole([`content-length: ${body.length}`], body, '');
      return { ...framing, flaw: refusedAs('too large a body', [413], 'may') };
    }
    default:
      return isOld || random.percent(50)
        ? tail('a body that is cut short', [`content-length: ${inside.length + 1}`], inside, true)
        : tail('chunks that are cut short', [chunked], `${size(inside)}\r\n${inside.slice(0, -1)}`, true);
  }
}
