/** What a response shows, noted while it passes. */

import type { ReadAlong } from '../../drift-scores.ts';
import type { Findings, ResponseScan } from './response-scan.ts';

const lineFeed = 10;

export function createReadAlong(
  openScan: () => ResponseScan,
  onFound: (findings: Findings) => void,
  onFault: (fault: unknown) => void,
): ReadAlong {
  let scan: ResponseScan | null = null;
  let isStream = false;

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
        scan ??= openScan();
        scan.write(bytes);
        // A stream may never end; what an event shows is known when the event has come.
        if (isStream && bytes.at(-1) === lineFeed) finish();
      }),
    end: () => guarded(finish),
  };
}
