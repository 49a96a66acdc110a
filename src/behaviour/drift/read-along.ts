/** What a response shows, noted while it passes. */

import type { ReadAlong } from '../../drift-scores.ts';
import type { Findings, ResponseScan } from './response-scan.ts';

/** What ends a line of a stream of events. */
const lineFeed = 10;
const carriageReturn = 13;

export function createReadAlong(
  openScan: () => ResponseScan,
  onFound: (findings: Findings) => void,
  onFault: (fault: unknown) => void,
): ReadAlong {
  let scan: ResponseScan | null = null;
  let isStream = false;

  function take(bytes: Uint8Array): void {
    scan ??= openScan();
    scan.write(bytes);
  }

  function finish(): void {
    if (scan === null) return;
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
        // A stream may never end; what an event shows is known when the event has come.
        const eventsEnd = isStream ? Math.max(bytes.lastIndexOf(lineFeed), bytes.lastIndexOf(carriageReturn)) + 1 : 0;
        if (eventsEnd > 0) {
          take(bytes.subarray(0, eventsEnd));
          finish();
        }
        if (eventsEnd < bytes.length) take(bytes.subarray(eventsEnd));
      }),
    end: () => guarded(finish),
  };
}
