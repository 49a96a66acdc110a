/** One request on its way through Postern: what arrived, and what each stage has found out about it. */

import type { Decision, Deny } from './decision.ts';
import type { DriftScores } from './drift-scores.ts';
import type { LeakGuard } from './leak-search.ts';

/** Field values in order of arrival, by lower-case name. */
export type Fields = ReadonlyMap<string, readonly string[]>;

/**
 * The vetted request target in canonical form (RFC 3986 §6.2.2: upper-case hex, unreserved octets decoded). Rules, the
 * htu comparison, routing and forwarding all use these very strings, so what is judged is what is sent.
 */
export type Target = {
  /** Begins with a slash; no query, no dot segments. */
  readonly path: string;
  /** Without the question mark; null where the target has no query. Kept as the client sent it. */
  readonly query: string | null;
  /** Where the path holds something that a route has to opt in to. */
  readonly odd?: OddPath | undefined;
};

/** What servers read differently in a path, and a route may opt in to. */
export type PathOddity = 'encoded-slash' | 'semicolon' | 'empty-segments' | 'double-encoding';

export type OddPath = {
  readonly uses: readonly PathOddity[];
  /** The same path as the most lenient server reads it: everything decoded, parameters and empty segments dropped. */
  readonly lenientPath: string;
};

/** A TLS client certificate seen on this very connection. */
export type ClientCertificate = {
  /** base64url(SHA-256(DER)), comparable with cnf["x5t#S256"] (RFC 8705 §3.1). */
  readonly thumbprint: string;
  /** Null also where no certificate authority has vouched for it. */
  readonly uriSan: string | null;
};

export type Source = {
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
  readonly certificate: ClientCertificate | null;
};

/** What the client asked, vetted. Nothing here has been authenticated. */
export type ClientRequest = {
  readonly method: string;
  readonly target: Target;
  /** Authority of the Host field, lower case. Descriptive only: nothing trusts it. */
  readonly host: string;
  readonly fields: Fields;
  /** Bytes announced by Content-Length; null for chunked; 0 for no body. */
  readonly bodyBytes: number | null;
  /** Of a handshake that opens a WebSocket (RFC 6455 §4.2.1); absent from any other request. */
  readonly webSocketKey?: string | undefined;
  readonly source: Source;
};

/** An access token whose signature and claims have been verified. Frozen, shared between requests by the token cache. */
export type AccessToken = {
  readonly issuer: string;
  readonly subject: string;
  readonly audience: readonly string[];
  readonly clientId: string;
  readonly scopes: readonly string[];
  /** Of the claim that the issuer's dialect names; empty where there is none. */
  readonly roles: readonly string[];
  /** Unique within the issuer. Where the issuer gives none, `sha256:` and a digest of the token. */
  readonly jti: string;
  /** Milliseconds since the epoch. */
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly authTimeMs: number | null;
  readonly acr: string | null;
  readonly claims: Readonly<Record<string, unknown>>;
  /** RFC 7800 confirmation: every method that the token names. */
  readonly confirmation: { readonly jkt: string | null; readonly x5t: string | null };
  /** The agent that presents the token: outermost `act`, else the client (RFC 8693 §4.1, dialect). */
  readonly agent: { readonly id: string; readonly issuer: string };
  /** `act`, outermost first. Inner links are informational (RFC 8693 §4.1). */
  readonly actors: readonly Actor[];
  /** What the subject is, where the token gives a sign of it that the issuer's dialect knows. */
  readonly subjectType: SubjectType;
  /** Whether the issuer signed the claims, or told them when it was asked about the token. */
  readonly source: 'jwt' | 'introspection';
};

/** Only a `user` is a human. Without a sign nobody is taken for one. */
export type SubjectType = 'user' | 'agent' | 'service' | 'unknown';

export type Actor = {
  readonly iss: string;
  readonly sub: string;
  readonly profile: string;
  /** Whether the issuer vouches that this actor presents the token: true for the outermost one only. */
  readonly verified: boolean;
};

export type PossessionMethod = 'dpop' | 'mtls' | 'bearer';

/** Who calls, and what is known of it beyond its token. Frozen, shared between requests with one token. */
export type Agent = {
  readonly id: string;
  readonly issuer: string;
  /** The human who answers for it, as the registry or a claim says. */
  readonly owner: string | null;
  readonly team: string | null;
  /** Agents that do the same job: whom its behaviour is compared with. */
  readonly group: string | null;
  /** Of the agent and of everybody behind it, as far as known: its client and the actors of its chain. */
  readonly owners: readonly string[];
  readonly registered: boolean;
  readonly status: AgentStatus;
};

/** As the registry has it; `unknown` where the agent is not registered. */
export type AgentStatus = 'active' | 'suspended' | 'expired' | 'unknown';

/** How the presenter proved possession of the token's key on this request. */
export type Possession = {
  readonly method: 'dpop' | 'mtls' | 'none';
  readonly jkt: string | null;
  readonly x5t: string | null;
  /** Now minus the proof's iat; 0 without a proof. */
  readonly proofAgeMs: number;
  readonly hasNonce: boolean;
  /** What the store must see for the first time: null without a proof. */
  readonly singleUse: { readonly key: string; readonly lifetimeMs: number; readonly madeAtMs: number } | null;
};

/** One member of a Content-Digest (RFC 9530 §2) whose algorithm is known. */
export type ContentDigest = { readonly algorithm: 'sha256' | 'sha512'; readonly base64: string };

/** Why an agent says it calls, and where it said so. Untrusted text: never authority. */
export type StatedReason = { readonly text: string; readonly source: 'signed' | 'header' | 'meta' };

/** What a body that is one JSON-RPC 2.0 request asks of an MCP server. */
export type McpCall = {
  readonly method: string;
  /** Of `tools/call` only. */
  readonly tool: { readonly name: string; readonly arguments: Readonly<Record<string, unknown>> | undefined } | null;
};

/** A body that was read whole before the decision, and is forwarded byte for byte. */
export type HeldBody = {
  readonly bytes: Buffer;
  /** Whether the proof's digest of it was verified. */
  readonly isBound: boolean;
  /** The value of its JSON; undefined where it is not inspected, empty or not JSON. */
  readonly json: unknown;
  /** The call that its JSON is; 'batch' for several at once; null for everything else. */
  readonly mcp: McpCall | 'batch' | null;
  /** Gives back the room that it took. Once is enough; more does no harm. */
  readonly release: () => void;
};

export type Identity = {
  readonly accessToken: AccessToken;
  readonly possession: Possession;
  /** What the proof says that the body must hash to; null where it says nothing. */
  readonly contentDigest: readonly ContentDigest[] | null;
  /** The private claim `reason` of the proof, of whatever type it is; undefined where there is none. */
  readonly signedReason: unknown;
  /** Sent as DPoP-Nonce with the answer, when the client should use a newer one (RFC 9449 §8.2). */
  readonly nextNonce: string | null;
};

/** One way in: where requests go, and what they need to get there. Built from configuration; frozen. */
export type Route = {
  readonly name: string;
  readonly pathPrefix: string;
  readonly hosts: readonly string[] | null;
  readonly methods: readonly string[];
  /** Origin of the upstream and an optional base path without a trailing slash. */
  readonly upstream: { readonly origin: string; readonly basePath: string };
  readonly stripPrefix: boolean;
  readonly audience: string;
  readonly credential: string;
  /** Ways to present a token. Bearer is there only when configuration names it. */
  readonly accepts: readonly PossessionMethod[];
  readonly bodyBytesMax: number;
  /** With `required`, writes and requests with a body must carry a digest in their proof. */
  readonly bodyBinding: 'verify' | 'required';
  /** Largest JSON body that is read and shown to rules; null where bodies are not looked into. */
  readonly jsonBytesMax: number | null;
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  /** Whether a handshake that opens a WebSocket is let through. */
  readonly webSocket?: boolean;
  /** Whether what still runs when the access token expires is cut. WebSockets always are. */
  readonly endsAtTokenExpiry?: boolean;
  /** Whether answers are searched for the credential. */
  readonly leakGuard?: boolean;
  readonly allowInPath?: readonly PathOddity[];
  readonly forwardFields: readonly string[];
  /** Scopes that its resource metadata names. */
  readonly scopes: readonly string[];
  /** Where its resource metadata is (RFC 9728 §3), as told in challenges. */
  readonly resourceMetadata: string;
  /** Null where no web page may call. */
  readonly cors: { readonly origins: ReadonlySet<string>; readonly maxAgeSeconds: number } | null;
};

/** What Postern says itself to a request that needs no token and goes nowhere. */
export type OwnAnswer = {
  readonly effect: 'allow';
  /** Begins with `postern:`, which no id of a rule does. */
  readonly rule: string;
  readonly matches: readonly [];
  readonly status: number;
  readonly fields: readonly (readonly [string, string])[];
  /** Empty for none. */
  readonly body: string;
};

/** What a credential puts on an upstream request. Its values are secret: implementations keep them out of print. */
export type Injection = {
  /** Of the credential. */
  readonly name: string;
  /** Counts up from 1 each time the secret changes. */
  readonly version: number;
  /** Lower-case names with their values. */
  readonly fields: readonly (readonly [string, string])[];
  /** Knows the secret, and the one before it; null where the secret is too short to be told from other text. */
  readonly guard?: LeakGuard | null;
};

/** What rules may have read of a request, as far as its record does not say it elsewhere. */
export type RuleInputs = {
  /** By variable and field, `token.acr`, or one name in a map, `request.headers[x-team]`; null for what was absent. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What a rule may read and is not kept: secret by its name, or too long. */
  readonly missing: readonly string[];
  /** Of what was looked at, the variable that is beyond the bounds of rules; absent where none is. */
  readonly unfit?: string;
};

/** What happened after an allow. */
export type Outcome = {
  /** Status that the client saw; 0 when it left before any answer. */
  status: number;
  upstreamStatus: number | null;
  bytesIn: number;
  bytesOut: number;
  /** How the exchange ended. */
  end: 'complete' | 'client_aborted' | 'upstream_aborted' | 'token_expired' | 'revoked' | 'leak_blocked' | 'refused';
};

/** What an exchange under way can be revoked by, and whether it has been since it began. */
export type Standing = {
  readonly handles: readonly string[];
  readonly issuedAtMs: number;
  /** The handle that is revoked; null while none is. */
  readonly revokedBy: string | null;
  /** Called once, when that changes. Whoever sets it has looked at `revokedBy`. */
  onRevoked: (() => void) | null;
  /** The exchange is over. */
  readonly end: () => void;
};

/** Stages of the path that are timed, in order. */
export const stageNames = ['identify', 'store', 'decide', 'credential', 'upstream'] as const;
export type StageName = (typeof stageNames)[number];

export type Exchange = {
  /** Decision id, a UUIDv7; sent as postern-decision. */
  readonly id: string;
  /** Clock, milliseconds since the epoch. */
  readonly arrivedAtMs: number;
  /** Monotonic, milliseconds. */
  readonly startedMs: number;
  readonly source: Source;
  /** Raw method and target for the record of a request that could not be vetted. */
  readonly rawMethod: string;
  request: ClientRequest | null;
  route: Route | null;
  identity: Identity | null;
  /** Null exactly where there is no identity. */
  agent: Agent | null;
  /** Whether the identity is still good; null exactly where there is none. */
  standing: Standing | null;
  /** What the request does, in one name; null until there is a route. Known better once the body is. */
  operation: string | null;
  statedReason: StatedReason | null;
  /** Null where the body is passed on as it comes, which is the usual case. */
  heldBody: HeldBody | null;
  /** By meter name, this request included. */
  rates: ReadonlyMap<string, number> | null;
  /** Absent until it has been judged, and where behaviour is not. */
  drift?: DriftScores;
  /** What the answer says of quotas; empty where no throttle rule is about this request. */
  rateLimitFields: readonly (readonly [string, string])[];
  /** Null where no rule was asked; absent where they are not to be kept. */
  inputs?: RuleInputs | null;
  policyHash: string | null;
  decision: Decision | null;
  decidedMs: number | null;
  /** Why an allowed exchange could not be completed; null when it was. Not a decision. */
  failure: Deny | null;
  /** Makes room for the agent's next one; absent while it takes none. */
  releaseSlot?: () => void;
  /** Monotonic; when the stage under way began. */
  lapMs: number;
  readonly stageMs: { [stage in StageName]?: number };
  readonly outcome: Outcome;
};
