/** The steps of the tour that make calls: each says what should happen, does it, and says what did. */

import { generateKeyPair } from 'dpop';
import type { Tour } from './tour-calls.ts';
import { isAllowed, isDenied, repository, type Seen, type TourStep, tell } from './tour-step.ts';
import { ruleSteps, securitySteps } from './tour-team.ts';

const issues = `${repository}/issues`;
const agentCookie = 'agent-session=of-no-concern-to-the-api';
/** As the shipped rate rule has it. */
const callsPerMinute = 60;

export const callSteps: readonly TourStep[] = [
  {
    title: 'An agent reads, with its own token and a fresh proof',
    expected: '200, allowed; the repository comes back',
    async run(tour) {
      const agent = await tour.agent('agent-7');
      const verdict = await agent.call(repository, { fields: [['cookie', agentCookie]] });
      return { seen: tell(verdict), isAsTold: isAllowed(verdict, 200) && verdict.body.includes('"acme/site"') };
    },
  },
  {
    title: 'What the API was sent for that',
    expected: 'its own secret key; no token, proof or cookie of the agent',
    run: async (tour) => inspectReceived(tour),
  },
  {
    title: 'A thief has the token, but not its key',
    expected: 'with a proof by another key 401 key_mismatch; with no proof 401 proof_missing',
    async run(tour) {
      const accessToken = await (await tour.agent('agent-7')).accessToken();
      const proof = await tour.proof(await generateKeyPair('ES256'), repository, accessToken);
      const forged = await tour.present(repository, { accessToken, proof });
      const bare = await tour.present(repository, { accessToken });
      const isAsTold = isDenied(forged, 401, 'key_mismatch') && isDenied(bare, 401, 'proof_missing');
      return { seen: `${tell(forged)}; ${tell(bare)}`, isAsTold };
    },
  },
  {
    title: 'A recorded request is sent again, token and proof as they were',
    expected: 'the first time 200, the second time 401 proof_replayed',
    async run(tour) {
      const agent = await tour.agent('agent-7');
      const accessToken = await agent.accessToken();
      const proof = await tour.proof(agent.keyPair, repository, accessToken);
      const first = await tour.present(repository, { accessToken, proof });
      const second = await tour.present(repository, { accessToken, proof });
      const isAsTold = isAllowed(first, 200) && isDenied(second, 401, 'proof_replayed');
      return { seen: `${tell(first)}; ${tell(second)}`, isAsTold };
    },
  },
  {
    title: 'A good token, issued for another API',
    expected: '401 audience_mismatch',
    async run(tour) {
      const agent = await tour.agent('agent-7', { audience: tour.parts.otherAudience });
      const verdict = await agent.call(repository);
      return { seen: tell(verdict), isAsTold: isDenied(verdict, 401, 'audience_mismatch') };
    },
  },
  {
    title: 'A write, first without repo:write, then with it',
    expected: '403 scope_insufficient with a challenge that names repo:write; then 201, allowed',
    async run(tour) {
      const write = {
        method: 'POST',
        body: '{"title":"Broken link"}',
        fields: [['content-type', 'application/json']] as const,
      };
      const without = await (await tour.agent('agent-7', { scope: 'repo:read' })).call(issues, write);
      const withIt = await (await tour.agent('agent-7')).call(issues, write);
      const isTold = isDenied(without, 403, 'scope_insufficient') && (without.challenge ?? '').includes('repo:write');
      return { seen: `${tell(without)}; ${tell(withIt)}`, isAsTold: isTold && isAllowed(withIt, 201) };
    },
  },
  ...ruleSteps,
  {
    title: 'An agent in a hurry',
    expected: `${callsPerMinute} calls allowed, the next 429 rate_limited with Retry-After`,
    run: async (tour) => hurry(tour),
  },
  ...securitySteps,
];

function inspectReceived({ parts, sent }: Tour): Seen {
  const request = parts.api.received().at(-1);
  if (request === undefined) return { seen: 'the API received nothing', isAsTold: false };
  const { fields } = request;
  const valuesOf = (name: string) => fields.filter(([field]) => field === name).map(([, value]) => value);
  const authorization = valuesOf('authorization');
  const hasKey = authorization.length === 1 && authorization[0] === `Bearer ${parts.apiKey}`;
  const left = fields.filter(
    ([name, value]) =>
      name === 'dpop' ||
      name === 'cookie' ||
      value.includes(agentCookie) ||
      [...sent].some((secret) => value.includes(secret)),
  );
  const names = fields.map(([name]) => name).join(', ');
  const key = hasKey ? 'the key' : 'not the key';
  const rest = left.length === 0 ? 'nothing of the agent' : `the agent's ${left.map(([name]) => name).join(', ')}`;
  return { seen: `${key}, ${rest} (fields: ${names})`, isAsTold: hasKey && request.isAuthorized && left.length === 0 };
}

async function hurry(tour: Tour): Promise<Seen> {
  const agent = await tour.agent('agent-busy');
  let allowed = 0;
  let last = await agent.call(repository);
  while (isAllowed(last, 200) && allowed <= callsPerMinute) {
    allowed += 1;
    last = await agent.call(repository);
  }
  const isThrottled = isDenied(last, 429, 'rate_limited') && Number(last.retryAfter) >= 1;
  return {
    seen: `${allowed} calls allowed, then ${tell(last)}, Retry-After ${last.retryAfter ?? 'missing'}`,
    isAsTold: allowed === callsPerMinute && isThrottled,
  };
}
