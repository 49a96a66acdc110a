/** What a request takes along on its way to an upstream, and what all requests of one route share. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { ReadAlong } from '../drift-scores.ts';
import type { ClientRequest, Injection, Outcome, Route, Standing } from '../exchange.ts';
import type { RequestFields, ResponseFieldsOptions } from './fields.ts';

export type ForwardArguments = {
  readonly request: ClientRequest;
  readonly route: Route;
  readonly injection: Injection;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly outcome: Outcome;
  readonly decisionId: string;
  /** Further fields of the response, names and values by turns. */
  readonly extraFields?: readonly string[];
  /** Called right before the body is first read: the place for 100 Continue. */
  readonly beforeBody?: (() => void) | undefined;
  /** Read already, and sent in place of what is left of `incoming`; null for a body that streams. */
  readonly body?: Buffer | null;
  /** Until what still runs is ended, because the access token has expired; never where absent. */
  readonly endsInMs?: number | undefined;
  /** Looks at the response as it passes; nobody where null or absent. */
  readonly readAlong?: ReadAlong | null;
  /** Whether the call is revoked, and told when it is; never where absent. */
  readonly standing?: Pick<Standing, 'revokedBy' | 'onRevoked'> | undefined;
};

/** What all requests of one route share. */
export type Lane = {
  readonly dispatcher: Dispatcher;
  readonly toUpstreamFields: RequestFields;
  readonly responseOptions: ResponseFieldsOptions;
  /** How long a request may wait for a connection, new or free. */
  readonly connectTimeoutMs: number;
  readonly onDone: () => void;
};
