/** What a sidecar knows of revocations: the mirror that follows the store, what is under way, and how both change. */

import type { Logger } from 'pino';
import type { Config } from './config/schema.ts';
import { newDecisionId } from './decision-id.ts';
import { StoreFault } from './errors.ts';
import type { Closers } from './lifecycle.ts';
import { revocationLine, storeLine } from './record/audit-record.ts';
import type { Metrics } from './record/metrics.ts';
import type { Sinks } from './record/sinks.ts';
import { createLive, type Live } from './revocation/live.ts';
import { createMirror, type Mirror } from './revocation/mirror.ts';
import { createRevocations, type Revocations, revocationView } from './revocation/revoke.ts';
import type { RevocationSet, Store } from './store/port.ts';

export type RevocationParts = {
  readonly mirror: Mirror;
  readonly live: Live;
  readonly revocations: Revocations;
};

export function createRevocationParts(options: {
  readonly issuers: Config['issuers'];
  readonly store: Store;
  /** For the mirror: empty and without bounds. */
  readonly entries: RevocationSet;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'countStoreLoss'>;
  readonly sinks: Pick<Sinks, 'write'>;
  readonly closers: Closers;
}): RevocationParts {
  const { issuers, store, entries, clock, logger, metrics, sinks, closers } = options;
  const mirror = createMirror({
    store,
    entries,
    clock,
    onAdded: () => live.review(),
    onLost: (revocations) => {
      metrics.countStoreLoss();
      sinks.write(storeLine('lost', revocations, clock()));
      logger.error(
        { revocations },
        'the store has lost what it held: it was emptied, replaced or evicts keys; this sidecar gives it back the ' +
          'revocations; after an emptied one calls are refused for ten seconds, and counts begin anew',
      );
    },
    onRestored: (revocations) => {
      sinks.write(storeLine('restored', revocations, clock()));
      logger.warn({ revocations }, 'the store has its revocations back');
    },
    onFault: (fault) => logger.error({ err: fault }, 'an unforeseen fault in following revocations'),
  });
  closers.add(mirror.close);
  const live = createLive(mirror.firstRevoked);
  const revocations = createRevocations({
    store,
    clock,
    newId: newDecisionId,
    issuers,
    onChange: (action, entry, author) => sinks.write(revocationLine(action, author, revocationView(entry), clock())),
    isKnown: ({ id, handle }) => mirror.entriesOf(handle).some((known) => known.id === id),
    hold: mirror.hold,
    sync: () =>
      mirror.sync().catch((fault: unknown) => {
        // The store has the change, and this sidecar learns of it as all others do.
        if (!(fault instanceof StoreFault)) throw fault;
      }),
  });
  return { mirror, live, revocations };
}
