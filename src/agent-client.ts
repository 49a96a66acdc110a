/** An agent: gets a token bound to its own key, and signs a fresh proof for every call (RFC 6749 §4.4, RFC 9449). */

import * as oauth from 'oauth4webapi';
import { Fault } from './errors.ts';

export type AgentClientOptions = {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Space-separated; the issuer's default where absent. */
  readonly scope?: string | undefined;
  /** Resource indicator (RFC 8707): the audience that the token is for. */
  readonly resource?: string | undefined;
  /** The agent's key, for callers that also sign by hand. A new ES256 key where absent. */
  readonly keyPair?: oauth.CryptoKeyPair | undefined;
  /** Until the response fields of a call have arrived; for requests to the issuer, until the body has, too. */
  readonly timeoutMs?: number | undefined;
};

export type Call = {
  readonly method?: string | undefined;
  readonly fields?: ReadonlyArray<readonly [string, string]> | undefined;
  /** Held in memory, because a nonce challenge makes the client send it twice. */
  readonly body?: string | Uint8Array<ArrayBuffer> | undefined;
};

export type CallAnswer = {
  /** Its body is unread and the caller's to read or cancel. */
  readonly response: Response;
  readonly challenges: readonly oauth.WWWAuthenticateChallenge[];
  /** 2 when the server asked for a nonce first. */
  readonly attempts: number;
};

export type AgentClient = {
  readonly accessToken: () => Promise<string>;
  readonly call: (url: URL, call?: Call) => Promise<CallAnswer>;
};

type IssuedToken = { readonly value: string; readonly expiresAtMs: number };

/** A token this close to its end is not used for another call. */
const renewBeforeMs = 10_000;

/**
 * Creates an agent. Nothing is asked of the issuer before the first call. Rejections are Faults: `usage` for a URL that
 * a client must not use, `unreachable` where nothing answers, `issuer_refused` where there is no token to be had.
 */
export function createAgentClient(options: AgentClientOptions): AgentClient {
  const issuer = checkedUrl(options.issuer, 'issuer');
  const client: oauth.Client = { client_id: options.clientId };
  const timeoutMs = options.timeoutMs ?? 10_000;
  const request = requestOptions(timeoutMs, () => AbortSignal.timeout(timeoutMs));
  const callRequest = requestOptions(timeoutMs);
  let handle: Promise<oauth.DPoPHandle> | null = null;
  let server: Promise<oauth.AuthorizationServer> | null = null;
  let issued: Promise<IssuedToken> | null = null;

  function dpop(): Promise<oauth.DPoPHandle> {
    handle ??= createHandle(client, options.keyPair);
    return handle;
  }

  async function requestToken(): Promise<IssuedToken> {
    server ??= discover(issuer, request);
    const [authorizationServer, DPoP] = await Promise.all([server, dpop()]);
    const parameters = new URLSearchParams();
    if (options.scope !== undefined) parameters.set('scope', options.scope);
    if (options.resource !== undefined) parameters.set('resource', options.resource);
    const authentication = oauth.ClientSecretBasic(options.clientSecret);
    const { value } = await withNonceRetry(async () => {
      const response = await oauth.clientCredentialsGrantRequest(
        authorizationServer,
        client,
        authentication,
        parameters,
        { ...request, DPoP },
      );
      return oauth.processClientCredentialsResponse(authorizationServer, client, response);
    });
    // RFC 9449 §5: any other type means that the token is not bound to our key.
    if (value.token_type !== 'dpop') {
      throw new Fault(
        'issuer_refused',
        `${issuer.origin} issued a token that is not bound to a key; turn DPoP on there`,
      );
    }
    return { value: value.access_token, expiresAtMs: Date.now() + (value.expires_in ?? 60) * 1000 };
  }

  async function accessToken(): Promise<string> {
    const held = await issued?.catch(() => null);
    if (held && held.expiresAtMs - renewBeforeMs > Date.now()) return held.value;
    issued = requestToken().catch((fault: unknown) => {
      // A failed discovery is tried again by the next call.
      server = null;
      throw issuerFault(issuer, options, fault);
    });
    return (await issued).value;
  }

  async function call(url: URL, { method = 'GET', fields = [], body }: Call = {}): Promise<CallAnswer> {
    checkedUrl(url.href, 'URL');
    const headers = new Headers(fields.map(([name, value]): [string, string] => [name, value]));
    const [token, DPoP] = await Promise.all([accessToken(), dpop()]);
    try {
      const { value: response, attempts } = await withNonceRetry(() =>
        oauth.protectedResourceRequest(token, method, url, new Headers(headers), body, { ...callRequest, DPoP }),
      );
      return { response, challenges: [], attempts };
    } catch (fault) {
      if (!(fault instanceof RetriedFault)) throw fault;
      if (!(fault.cause instanceof oauth.WWWAuthenticateChallengeError)) throw fault.cause;
      return { response: fault.cause.response, challenges: fault.cause.cause, attempts: fault.attempts };
    }
  }

  return { accessToken, call };
}

/** Carries how often a request was tried beside why it failed. */
class RetriedFault extends Fault {
  readonly attempts: number;
  constructor(cause: unknown, attempts: number) {
    super('request_failed', 'the request failed', cause);
    this.attempts = attempts;
  }
}

// RFC 9449 §8 and §9: a use_dpop_nonce challenge brings a nonce, which the handle has kept, and asks for one new try.
async function withNonceRetry<T>(attempt: () => Promise<T>): Promise<{ value: T; attempts: number }> {
  try {
    return { value: await attempt(), attempts: 1 };
  } catch (fault) {
    if (!oauth.isDPoPNonceError(fault)) throw new RetriedFault(fault, 1);
    if (fault instanceof oauth.WWWAuthenticateChallengeError) await fault.response.body?.cancel();
    try {
      return { value: await attempt(), attempts: 2 };
    } catch (second) {
      throw new RetriedFault(second, 2);
    }
  }
}

async function createHandle(client: oauth.Client, keyPair?: oauth.CryptoKeyPair): Promise<oauth.DPoPHandle> {
  return oauth.DPoP(client, keyPair ?? (await oauth.generateKeyPair('ES256')));
}

type FetchOptions = oauth.CustomFetchOptions<string, oauth.ProtectedResourceRequestBody>;

type RequestOptions = {
  readonly [oauth.allowInsecureRequests]: true;
  readonly [oauth.customFetch]: (url: string, init: FetchOptions) => Promise<Response>;
  readonly signal?: () => AbortSignal;
};

/**
 * oauth4webapi refuses http altogether or allows it altogether. It is allowed here, and the one function that every
 * request goes through, those to endpoints named by metadata too, refuses it for any host but loopback. The signal
 * holds until the body has been read; where there is none, only the response fields must arrive in time.
 */
function requestOptions(timeoutMs: number, signal?: () => AbortSignal): RequestOptions {
  return {
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (text, init) => {
      const url = checkedUrl(text, 'URL');
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), timeoutMs);
      try {
        return await fetch(url, { ...init, body: init.body ?? null, signal: init.signal ?? late.signal });
      } catch (fault) {
        throw new Fault('unreachable', `${url.origin} did not answer within ${timeoutMs} ms, or not at all`, fault);
      } finally {
        clearTimeout(timer);
      }
    },
    ...(signal && { signal }),
  };
}

async function discover(issuer: URL, request: RequestOptions): Promise<oauth.AuthorizationServer> {
  // RFC 8414 §3 first; §5 names OpenID Connect Discovery as the older place for the same document.
  const response = await oauth.discoveryRequest(issuer, { ...request, algorithm: 'oauth2' });
  if (response.status !== 404) return oauth.processDiscoveryResponse(issuer, response);
  await response.body?.cancel();
  return oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { ...request, algorithm: 'oidc' }),
  );
}

// RFC 6750 §5.3: tokens and client secrets travel over TLS only. Loopback never leaves the machine.
function checkedUrl(text: string, what: string): URL {
  const url = URL.parse(text);
  if (url === null) throw new Fault('usage', `the ${what} is not a URL such as https://api.example.com/path`);
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))) return url;
  throw new Fault('usage', `${url.origin}: the ${what} must be https; http is only for 127.0.0.1, [::1] and localhost`);
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname);
}

/** What the library found wrong with an issuer's answer becomes a Fault; anything else passes as it is. */
function issuerFault(issuer: URL, options: AgentClientOptions, fault: unknown): unknown {
  const cause = fault instanceof RetriedFault ? fault.cause : fault;
  if (cause instanceof oauth.ResponseBodyError || cause instanceof oauth.WWWAuthenticateChallengeError) {
    const code = cause instanceof oauth.ResponseBodyError ? cause.error : `status ${cause.status}`;
    return new Fault('issuer_refused', `${issuer.origin} refused a token: ${code}; ${adviceFor(code, options)}`, cause);
  }
  if (cause instanceof oauth.OperationProcessingError || cause instanceof oauth.UnsupportedOperationError) {
    return new Fault('issuer_refused', `${issuer.origin} does not answer as an authorization server does`, cause);
  }
  return cause;
}

/** What to change, by the error codes of RFC 6749 §5.2 and RFC 8707 §2. */
function adviceFor(code: string, { resource, scope }: AgentClientOptions): string {
  if (code === 'invalid_target') {
    const audience = resource === undefined ? 'a token without an audience' : `the audience ${resource}`;
    return `the issuer does not know ${audience}; name another with --audience`;
  }
  if (code === 'invalid_scope') {
    const wanted = scope === undefined ? 'its default scopes' : `"${scope}"`;
    return `the issuer does not grant this client ${wanted}; name others with --scope`;
  }
  // Told as a challenge, too: RFC 6749 §5.2 wants a 401 where the client tried HTTP authentication.
  if (code === 'invalid_client' || code === 'status 401') return 'check --client-id and its secret';
  return 'check client, secret, scope';
}
