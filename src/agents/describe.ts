/** What is known of the agent that presents a token: from the registry, and from claims where that says nothing. */

import { type Deny, deny } from '../decision.ts';
import type { AccessToken, Agent } from '../exchange.ts';
import { isJsonObject } from '../strict-json.ts';
import type { RegisteredAgent, Registry } from './registry.ts';

const nameCharsMax = 256;

export type DescribeAgentOptions = {
  readonly registry: () => Registry;
  readonly claims: {
    readonly owner?: string | undefined;
    readonly team?: string | undefined;
    readonly group?: string | undefined;
  };
};

export type DescribeAgent = (accessToken: AccessToken, nowMs: number) => Agent;

type Described = { readonly agent: Agent; readonly registry: Registry; readonly entry: RegisteredAgent | null };

/** Worked out once a token, for as long as registry and expiry leave it true. */
export function createDescribeAgent({ registry, claims }: DescribeAgentOptions): DescribeAgent {
  const cache = new WeakMap<AccessToken, Described>();
  const ownerClaim = stepsOf(claims.owner);
  const teamClaim = stepsOf(claims.team);
  const groupClaim = stepsOf(claims.group);
  return (accessToken, nowMs) => {
    const current = registry();
    const found = cache.get(accessToken);
    if (found !== undefined && found.registry === current && found.agent.status === statusOf(found.entry, nowMs)) {
      return found.agent;
    }
    const { id, issuer } = accessToken.agent;
    const entry = current.find(id, issuer);
    const owner = entry?.owner ?? readName(accessToken, ownerClaim);
    const team = entry?.team ?? readName(accessToken, teamClaim);
    const agent: Agent = Object.freeze({
      id,
      issuer,
      owner,
      owners: ownersOf(accessToken, owner, current),
      team,
      group: entry?.group ?? readName(accessToken, groupClaim) ?? team,
      registered: entry !== null,
      status: statusOf(entry, nowMs),
    });
    cache.set(accessToken, { agent, registry: current, entry });
    return agent;
  };
}

function ownersOf(
  { issuer, clientId, actors }: AccessToken,
  owner: string | null,
  registry: Registry,
): readonly string[] {
  const behind = [{ sub: clientId, iss: issuer }, ...actors];
  const owners = [owner, ...behind.map(({ sub, iss }) => registry.find(sub, iss)?.owner ?? null)];
  return [...new Set(owners.filter((name) => name !== null))];
}

export function statusOf(entry: RegisteredAgent | null, nowMs: number): Agent['status'] {
  if (entry === null) return 'unknown';
  if (entry.isSuspended) return 'suspended';
  return nowMs >= entry.expiresAtMs ? 'expired' : 'active';
}

const refusals = {
  suspended: deny('rule_denied', {
    rule: 'postern:agent-suspended',
    detail: 'This agent is suspended in the registry of agents. Ask its owner; a retry will not help.',
  }),
  expired: deny('rule_denied', {
    rule: 'postern:agent-expired',
    detail: 'The entry of this agent in the registry of agents has expired. Ask its owner; a retry will not help.',
  }),
  unregistered: deny('rule_denied', {
    rule: 'postern:agent-unregistered',
    detail: 'This agent is not in the registry of agents. Ask the platform team to register it.',
  }),
} as const satisfies Readonly<Record<string, Deny>>;

/** A Deny for agents that are refused whatever the rules say, else null. */
export function createRefuseAgent(refused: readonly (keyof typeof refusals)[]): (agent: Agent | null) => Deny | null {
  const isRefused = new Set(refused);
  return (agent) => {
    if (agent === null || agent.status === 'active') return null;
    const kind = agent.status === 'unknown' ? 'unregistered' : agent.status;
    return isRefused.has(kind) ? refusals[kind] : null;
  };
}

/** A claim named by a URL, as RFC 7519 §4.2 suggests for private use, has dots that are no steps. */
function stepsOf(claim: string | undefined): readonly string[] | null {
  if (claim === undefined) return null;
  return claim.includes('/') ? [claim] : claim.split('.');
}

/** Null for what could not be a name: it would be shown, recorded and compared. */
function readName({ claims }: AccessToken, steps: readonly string[] | null): string | null {
  if (steps === null) return null;
  let value: unknown = claims;
  for (const step of steps) value = isJsonObject(value) && Object.hasOwn(value, step) ? value[step] : undefined;
  const isName = typeof value === 'string' && value !== '' && value.length <= nameCharsMax && !/\p{Cc}/u.test(value);
  return isName ? String(value) : null;
}
