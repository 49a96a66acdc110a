/**
 * The CEL variables, by name and type. Names are a contract (README, rule reference).
 *
 * A variable with fields is a record: a class of fixed shape that holds primitives, Maps and arrays only. The engine
 * reads a record through the field table declared here and nothing else of it, so an expression reaches neither its
 * prototype nor its constructor. Untrusted JSON is never a record: it is nested Maps (document.ts). Absent fields are
 * undefined: reading one is an evaluation error, and `has()` tells.
 */

import type { Environment } from '@marcbachmann/cel-js';

export class RequestRecord {
  method = '';
  path = '';
  url_path = '';
  host = '';
  scheme = '';
  headers: ReadonlyMap<string, string> | undefined = undefined;
  query: ReadonlyMap<string, readonly string[]> | undefined = undefined;
  id = '';
  time: Date | undefined = undefined;
  size: bigint | undefined = undefined;
  operation = '';
  body: unknown = undefined;
  reason = '';
}

export class SourceRecord {
  address = '';
  port = 0n;
}

export class ConnectionRecord {
  mtls = false;
  sha256_peer_certificate_digest: string | undefined = undefined;
  uri_san_peer_certificate: string | undefined = undefined;
}

export class TokenRecord {
  iss = '';
  sub = '';
  aud: readonly string[] = [];
  client_id = '';
  scopes: readonly string[] = [];
  roles: readonly string[] = [];
  jti = '';
  issued_at: Date | undefined = undefined;
  expires_at: Date | undefined = undefined;
  age = 0n;
  acr: string | undefined = undefined;
  auth_time: Date | undefined = undefined;
  authorization_details: readonly ReadonlyMap<string, unknown>[] | undefined = undefined;
  claims: ReadonlyMap<string, unknown> | undefined = undefined;
}

export class PossessionRecord {
  method = '';
  jkt: string | undefined = undefined;
  x5t: string | undefined = undefined;
  proof_age = 0n;
  nonce = false;
  body_bound = false;
}

export class AgentRecord {
  id = '';
  issuer = '';
  owner: string | undefined = undefined;
  team: string | undefined = undefined;
  registered = false;
  status = '';
}

export class SubjectRecord {
  id = '';
  type = '';
  human = false;
}

export class ActorRecord {
  iss = '';
  sub = '';
  profile = '';
  verified = false;
}

export class ActRecord {
  chain: readonly ActorRecord[] = [];
  depth = 0n;
}

export class McpToolRecord {
  name = '';
  arguments: unknown = undefined;
}

/** Of a body that is one JSON-RPC request; without any field for every other. */
export class McpRecord {
  method: string | undefined = undefined;
  tool: McpToolRecord | undefined = undefined;
}

export class RevocationRecord {
  age = 0n;
}

/** Scores of behaviour. Where it is not judged, no rule may read them; see vet-configuration.ts. */
export class DriftRecord {
  score = 0;
  novelty = 0;
  sequence = 0;
  destination = 0;
  tainted = false;
  rate = 0;
  sustained = 0;
  ready = false;
  samples = 0n;
  alarms = 0n;
  top: readonly string[] = [];
  peers = 0n;
  latched = false;
  stale = false;
}

export class RouteRecord {
  name = '';
  audience = '';
  upstream = '';
}

/** One count a meter, by name. The only record whose fields configuration decides. */
export class RateRecord extends Map<string, bigint> {}

const timestamp = 'google.protobuf.Timestamp';
const claims = 'map<string, dyn>';

type Fields = Readonly<Record<string, string>>;

/** Every variable that is a record, and the records inside others, which have no variable. `rate` is apart. */
export const records: readonly { variable: string | null; name: string; ctor: new () => object; fields: Fields }[] = [
  {
    variable: 'request',
    name: 'Request',
    ctor: RequestRecord,
    fields: {
      method: 'string',
      path: 'string',
      url_path: 'string',
      host: 'string',
      scheme: 'string',
      headers: 'map<string, string>',
      query: 'map<string, list<string>>',
      id: 'string',
      time: timestamp,
      size: 'int',
      operation: 'string',
      body: 'dyn',
      reason: 'string',
    },
  },
  { variable: 'source', name: 'Source', ctor: SourceRecord, fields: { address: 'string', port: 'int' } },
  {
    variable: 'connection',
    name: 'Connection',
    ctor: ConnectionRecord,
    fields: { mtls: 'bool', sha256_peer_certificate_digest: 'string', uri_san_peer_certificate: 'string' },
  },
  {
    variable: 'token',
    name: 'Token',
    ctor: TokenRecord,
    fields: {
      iss: 'string',
      sub: 'string',
      aud: 'list<string>',
      client_id: 'string',
      scopes: 'list<string>',
      roles: 'list<string>',
      jti: 'string',
      issued_at: timestamp,
      expires_at: timestamp,
      age: 'int',
      acr: 'string',
      auth_time: timestamp,
      authorization_details: `list<${claims}>`,
      claims,
    },
  },
  {
    variable: 'pop',
    name: 'Possession',
    ctor: PossessionRecord,
    fields: { method: 'string', jkt: 'string', x5t: 'string', proof_age: 'int', nonce: 'bool', body_bound: 'bool' },
  },
  {
    variable: 'agent',
    name: 'Agent',
    ctor: AgentRecord,
    fields: {
      id: 'string',
      issuer: 'string',
      owner: 'string',
      team: 'string',
      registered: 'bool',
      status: 'string',
    },
  },
  {
    variable: 'subject',
    name: 'Subject',
    ctor: SubjectRecord,
    fields: { id: 'string', type: 'string', human: 'bool' },
  },
  {
    variable: null,
    name: 'Actor',
    ctor: ActorRecord,
    fields: { iss: 'string', sub: 'string', profile: 'string', verified: 'bool' },
  },
  { variable: 'act', name: 'Act', ctor: ActRecord, fields: { chain: 'list<Actor>', depth: 'int' } },
  { variable: null, name: 'McpTool', ctor: McpToolRecord, fields: { name: 'string', arguments: claims } },
  { variable: 'mcp', name: 'Mcp', ctor: McpRecord, fields: { method: 'string', tool: 'McpTool' } },
  {
    variable: 'drift',
    name: 'Drift',
    ctor: DriftRecord,
    fields: {
      score: 'double',
      novelty: 'double',
      sequence: 'double',
      destination: 'double',
      tainted: 'bool',
      rate: 'double',
      sustained: 'double',
      ready: 'bool',
      samples: 'int',
      alarms: 'int',
      top: 'list<string>',
      peers: 'int',
      latched: 'bool',
      stale: 'bool',
    },
  },
  {
    variable: 'route',
    name: 'Route',
    ctor: RouteRecord,
    fields: { name: 'string', audience: 'string', upstream: 'string' },
  },
  { variable: 'revocation', name: 'Revocation', ctor: RevocationRecord, fields: { age: 'int' } },
];

/** Fields that may be absent, by type and name. Every other field of a record can be read without a failure. */
export const optionalFields: ReadonlySet<string> = new Set([
  ...['Request.size', 'Request.body', 'Token.acr', 'Token.auth_time', 'Possession.jkt', 'Possession.x5t'],
  ...['Connection.sha256_peer_certificate_digest', 'Connection.uri_san_peer_certificate'],
  ...['Mcp.method', 'Mcp.tool', 'McpTool.arguments'],
  ...['Agent.owner', 'Agent.team'],
]);

// A record has no prototype beyond its own, so there is nothing behind it even for an engine that would look.
for (const { ctor } of records) Object.setPrototypeOf(ctor.prototype, null);

/** What an expression may name. */
export type Declarations = {
  /** Fields of a record variable; null for a variable without fields. */
  readonly variables: ReadonlyMap<string, readonly string[] | null>;
  /** Type of every field of every record, by the name of the record's type. */
  readonly recordTypes: ReadonlyMap<string, ReadonlyMap<string, string>>;
};

/** Declares every variable, `rate` with exactly these meters. */
export function declareVariables(environment: Environment, meters: readonly string[]): Declarations {
  const variables = new Map<string, readonly string[] | null>();
  const recordTypes = new Map<string, ReadonlyMap<string, string>>();
  const rate = {
    variable: 'rate',
    name: 'Rate',
    ctor: RateRecord,
    fields: Object.fromEntries(meters.map((meter) => [meter, 'int'])),
  };
  for (const { variable, name, ctor, fields } of [...records, rate]) {
    environment.registerType(name, { ctor, fields: { ...fields } });
    recordTypes.set(name, new Map(Object.entries(fields)));
    if (variable === null) continue;
    environment.registerVariable(variable, name);
    variables.set(variable, Object.keys(fields));
  }
  environment.registerVariable('jwt', claims);
  environment.registerVariable('now', timestamp);
  variables.set('jwt', null);
  variables.set('now', null);
  return { variables, recordTypes };
}
