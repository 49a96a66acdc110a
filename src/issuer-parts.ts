/** What a sidecar asks token issuers for: their keys, what opaque tokens are worth, and their status lists. */

import type { Logger } from 'pino';
import type { Config } from './config/schema.ts';
import { createKeySets, type KeySets } from './identify/key-sets.ts';
import { createOpaqueTokens } from './identify/opaque-tokens.ts';
import { createStatusLists, type StatusLists } from './identify/status-lists.ts';
import type { Closers } from './lifecycle.ts';
import type { Metrics } from './record/metrics.ts';

export type IssuerParts = {
  readonly keySets: KeySets;
  readonly opaqueTokens: ReturnType<typeof createOpaqueTokens>;
  readonly statusLists: StatusLists;
};

export function createIssuerParts(options: {
  readonly issuers: Config['issuers'];
  readonly clock: () => number;
  readonly logger: Logger;
  readonly onStatusListFetch: Metrics['countStatusListFetch'];
  readonly closers: Closers;
}): IssuerParts {
  const { issuers, clock, logger, onStatusListFetch, closers } = options;
  const keySets = createKeySets({
    issuers,
    clock,
    onChange: ({ issuer, outcome, problem, error }) => {
      if (error !== undefined) logger.error({ err: error, issuer }, 'issuer keys: an unforeseen fault');
      if (outcome === 'fetched') logger.info({ issuer }, 'issuer keys fetched');
      else logger.warn({ issuer, problem }, 'issuer keys could not be fetched');
    },
  });
  closers.add(() => keySets.close());
  const opaqueTokens = createOpaqueTokens({
    issuers,
    keySets,
    clock,
    onFailure: ({ problem, error }) => {
      if (error !== undefined) logger.error({ err: error }, 'introspection: an unforeseen fault');
      logger.warn({ problem }, 'the issuer could not be asked about a token');
    },
  });
  if (opaqueTokens !== null) closers.add(opaqueTokens.close);
  const statusLists = createStatusLists({
    issuers,
    keySets,
    clock,
    onChange: ({ issuer, outcome, problem, error }) => {
      onStatusListFetch(issuer, outcome);
      if (error !== undefined) logger.error({ err: error, issuer }, 'status list: an unforeseen fault');
      if (outcome === 'failed') logger.warn({ issuer, problem }, 'a status list could not be fetched');
    },
  });
  closers.add(statusLists.close);
  return { keySets, opaqueTokens, statusLists };
}
