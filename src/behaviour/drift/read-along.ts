/** What a response shows, noted while it passes. */

import { StringDecoder } from 'node:string_decoder';
import type { ReadAlong } from '../../drift-scores.ts';
import type { ResponseScan, Shown } from './response-scan.ts';

/** Of one response, or of one event of a stream. */
const bytesMax = 64 * 1024;
const lineFeed = 10;

export function createReadAlong(
  openScan: () => ResponseScan,
  onFound: (shown: Shown) => void,
  onFault: (fault: unknown) => void,
): ReadAlong {
  let scan: ResponseScan | null = null;
  let decoder = new StringDecoder('utf8');
  let bytesRead = 0;
  let isStream = false;

  function finish(): void {
    if (scan === null || bytesRead === 0) return;
    scan.write(decoder.end());
    onFound(scan.end());
    scan = null;
  }

  function guarded(work: () => void): void {
    try {
      work();
    } catch (fault) {
      onFault(fault);
    }
  }

  return {
    begin(contentType) {
      const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
      isStream = type === 'text/event-stream';
      return type.startsWith('text/') || type.endsWith('json') || type.endsWith('xml') || type.endsWith('yaml');
    },
    read: (bytes) =>
      guarded(() => {
        if (bytesRead < bytesMax) {
          scan ??= openScan();
          scan.write(decoder.write(bytes.length > bytesMax ? bytes.subarray(0, bytesMax) : bytes));
        }
        bytesRead += bytes.length;
        // A stream may never end; what an event shows is known when the event has come.
        if (!isStream || bytes.at(-1) !== lineFeed) return;
        finish();
        decoder = new StringDecoder('utf8');
        bytesRead = 0;
      }),
    end: () => guarded(finish),
  };
}
