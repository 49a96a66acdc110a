import { describe, expect, it } from 'vitest';
import { createKeyedHash } from '../../../src/behaviour/drift/keyed-hash.ts';
import { createReadAlong } from '../../../src/behaviour/drift/read-along.ts';
import { createResponseScan, type Findings } from '../../../src/behaviour/drift/response-scan.ts';

const hash = createKeyedHash(Buffer.alloc(32, 3), 'destination');

function listening(contentType: string) {
  const found: Findings[] = [];
  const onFault = (fault: unknown) => {
    throw fault;
  };
  const readAlong = createReadAlong(createResponseScan(hash), (findings) => found.push(findings), onFault);
  expect(readAlong.begin(contentType)).toBe(true);
  const hashes = () => found.flatMap((findings) => findings.hashes);
  return { hashes, found, read: (text: string) => readAlong.read(Buffer.from(text)), end: readAlong.end };
}

describe('reading along', () => {
  it('knows what an event shows when it has come, wherever the stream is cut', () => {
    const stream = listening('text/event-stream; charset=utf-8');
    stream.read('data: write to eve@exam');
    expect(stream.hashes()).toEqual([]);
    stream.read('ple.net\n\ndata: ');
    expect(stream.hashes()).toEqual([hash('eve@example.net')]);
    for (let index = 0; index < 100; index++) stream.read(`${'x '.repeat(500)}\n\ndata: `);
    stream.read('bob@example.net\n');
    stream.read('data: amy@example.net\r\rdata: x');
    expect(stream.hashes()).toEqual(['eve', 'bob', 'amy'].map((name) => hash(`${name}@example.net`)));
  });

  it('tells of any other response at its end', () => {
    const response = listening('application/json');
    response.read('{"mail":"eve@example.net"}\n');
    expect(response.found).toEqual([]);
    response.end();
    expect(response.hashes()).toEqual([hash('eve@example.net')]);
  });
});
