/** What a demonstration needs, on loopback: an authorization server, a sample API, and Postern between them. */

import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { compose } from '../compose.ts';
import { loadConfig } from '../config/load.ts';
import { type AuthorizationServer, type DemoClient, startAuthorizationServer } from './authorization-server.ts';
import { loopback, reservePort } from './listen.ts';
import { type SampleApi, startSampleApi } from './sample-api.ts';
import { type DemoSession, removeSession, writeSession } from './session.ts';

export type DemoPorts = {
  readonly postern: number;
  readonly admin: number;
  readonly issuer: number;
  readonly api: number;
};

/** What `npm start` prefers; each is replaced by a free one where it is taken. */
export const usualPorts: DemoPorts = { postern: 8080, admin: 9901, issuer: 9000, api: 9001 };
export const freePorts: DemoPorts = { postern: 0, admin: 0, issuer: 0, api: 0 };

export type DemoPartsOptions = {
  readonly ports: DemoPorts;
  /** Where `postern call` looks for a running demo; null keeps this one to itself. */
  readonly sessionFolder: string | null;
};

/** Who answers for which agent of the demo. */
const owners = {
  'agent-7': 'alice@example.com',
  'agent-busy': 'alice@example.com',
  'agent-streamer': 'alice@example.com',
  'agent-day': 'bob@example.com',
  'agent-night': 'bob@example.com',
} as const;

export type DemoAgent = keyof typeof owners;

/** The human whom the tour offboards. */
export const leaver = owners['agent-day'];

export type DemoParts = {
  /** What agents call; also the audience of their tokens. */
  readonly origin: string;
  readonly adminOrigin: string;
  readonly issuer: string;
  /** An audience that the issuer knows and Postern does not serve. */
  readonly otherAudience: string;
  readonly clients: ReadonlyMap<DemoAgent, DemoClient>;
  readonly api: SampleApi;
  /** The key that only Postern and the API know. */
  readonly apiKey: string;
  readonly configFile: string;
  /** Copies of the library's rules, to be changed at will. */
  readonly rulesFolder: string;
  readonly auditFile: string;
  /** Lets live requests finish, then stops everything and removes the folder. */
  readonly close: () => Promise<void>;
};

const scopes = ['repo:read', 'repo:write'];
const otherAudience = 'https://billing.example.com';
// The same distance from src/demo and from dist/demo.
const library = fileURLToPath(new URL('../../rules/', import.meta.url));
/** Of the library, what the demonstration enforces. Each has its tests beside it. */
const rules = ['allow/scopes', 'guards/methods', 'guards/rates'];

/** Starts all parts, or none: whatever has been started is stopped again when a later one fails. */
export async function startDemoParts({ ports, sessionFolder }: DemoPartsOptions): Promise<DemoParts> {
  const started: (() => Promise<unknown>)[] = [];
  const close = () => closeAll(started);
  try {
    const folder = await mkdtemp(join(tmpdir(), 'postern-demo-'));
    started.push(() => rm(folder, { recursive: true, force: true }));
    const clients = createClients();
    const apiKey = newSecret();
    const api = await startSampleApi({ port: ports.api, secret: apiKey });
    started.push(api.close);
    const dataPort = await reservePort(ports.postern);
    started.push(dataPort.release);
    const adminPort = await reservePort(ports.admin);
    started.push(adminPort.release);
    const origin = `http://${loopback}:${dataPort.port}`;
    const issuer = await startIssuer(ports.issuer, origin, clients);
    started.push(issuer.close);
    const adminAddress = `${loopback}:${adminPort.port}`;
    const files = await writeFiles(
      folder,
      { origin, adminAddress, issuer: issuer.issuer, api: api.origin, apiKey },
      clients,
    );
    const configuration = await loadConfig(files.configFile);
    await Promise.all([dataPort.release(), adminPort.release()]);
    const sidecar = await compose({ configuration, env: {} });
    started.push(sidecar.drain);
    if (sessionFolder !== null) {
      const session: DemoSession = {
        origin,
        adminOrigin: sidecar.adminOrigin,
        issuer: issuer.issuer,
        audience: origin,
        clientId: 'agent-7',
        clientSecretFile: files.secretFile,
        scope: scopes.join(' '),
      };
      await writeSession(sessionFolder, session);
      started.push(() => removeSession(sessionFolder, session));
    }
    const { configFile, rulesFolder, auditFile } = files;
    const { adminOrigin } = sidecar;
    return {
      origin,
      adminOrigin,
      issuer: issuer.issuer,
      otherAudience,
      clients,
      api,
      apiKey,
      configFile,
      rulesFolder,
      auditFile,
      close,
    };
  } catch (fault) {
    // Why it did not start says more than what then did not stop.
    await close().catch(() => {});
    throw fault;
  }
}

/** Last started, first stopped. Goes on past one that fails, and then says so. */
async function closeAll(started: (() => Promise<unknown>)[]): Promise<void> {
  const faults: unknown[] = [];
  for (const stop of started.splice(0).reverse()) {
    await stop().catch((fault: unknown) => faults.push(fault));
  }
  if (faults.length > 0) throw faults[0];
}

function startIssuer(
  port: number,
  audience: string,
  clients: ReadonlyMap<DemoAgent, DemoClient>,
): Promise<AuthorizationServer> {
  const resources = new Map([
    [audience, scopes],
    [otherAudience, scopes],
  ]);
  return startAuthorizationServer({ port, clients: [...clients.values()], resources, requireNonce: true });
}

type Places = {
  readonly origin: string;
  readonly adminAddress: string;
  readonly issuer: string;
  readonly api: string;
  readonly apiKey: string;
};

async function writeFiles(folder: string, places: Places, clients: ReadonlyMap<DemoAgent, DemoClient>) {
  const secrets = join(folder, 'secrets');
  await mkdir(secrets, { mode: 0o700 });
  await writeFile(join(secrets, 'sample-api-key'), places.apiKey, { mode: 0o600 });
  for (const { id, secret } of clients.values()) await writeFile(join(secrets, id), secret, { mode: 0o600 });
  const rulesFolder = join(folder, 'rules');
  for (const file of rules.flatMap((name) => [`${name}.yaml`, `${name}.test.yaml`])) {
    await cp(join(library, file), join(rulesFolder, file));
  }
  const agents = Object.entries(owners).map(([id, owner]) => ({ id, owner, team: 'web' }));
  await writeFile(join(folder, agentsName), stringify({ agents }), { mode: 0o600 });
  const configFile = join(folder, 'postern.yaml');
  await writeFile(configFile, configurationOf(places), { mode: 0o600 });
  return { configFile, rulesFolder, auditFile: join(folder, auditName), secretFile: join(secrets, 'agent-7') };
}

const auditName = 'audit.jsonl';
const agentsName = 'agents.yaml';

function configurationOf({ origin, adminAddress, issuer, api }: Places): string {
  const configuration = {
    listen: { address: new URL(origin).host, publicOrigin: origin },
    admin: { address: adminAddress },
    store: { kind: 'memory' },
    issuers: [{ issuer }],
    agents: { file: agentsName },
    routes: [
      { name: 'sample', match: { pathPrefix: '/' }, upstream: api, audience: origin, credential: 'sample-api-key' },
    ],
    credentials: {
      'sample-api-key': {
        from: { file: 'secrets/sample-api-key' },
        inject: { header: 'authorization', value: 'Bearer {secret}' },
      },
    },
    meters: { calls_per_minute: { by: 'agent.id', window: '1m' } },
    rules: ['rules'],
    audit: { sinks: [{ file: auditName }] },
    // No load balancer has to notice first that this sidecar is going.
    shutdown: { delay: '0s', deadline: '5s' },
    // What a start has to say, that the store is for one process for instance, the demo says itself.
    log: { level: 'error' },
  };
  return `# Written by the demo. Relative paths are relative to this file.\n${stringify(configuration)}`;
}

function createClients(): ReadonlyMap<DemoAgent, DemoClient> {
  const agents = Object.keys(owners) as DemoAgent[];
  return new Map(agents.map((id) => [id, { id, secret: newSecret(), scopes }]));
}

function newSecret(): string {
  return randomBytes(32).toString('base64url');
}
