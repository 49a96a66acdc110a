/** The steps of those who answer for agents: the writers of rules, and the security team. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createNameOperation } from '../behaviour/actions/operation.ts';
import { createBareReading } from '../described-requests.ts';
import { createCompile } from '../policy/cel.ts';
import type { RecordExplanation } from '../policy/explain-decision.ts';
import { runTests } from '../policy/tests/run-tests.ts';
import { type DemoAgent, leaver } from './parts.ts';
import type { Tour } from './tour-calls.ts';
import { isAllowed, isDenied, repository, type Seen, type TourStep, tell } from './tour-step.ts';

/** As README.md promises it. */
const cutWithinMs = 1000;
const adminPath = '/admin/keys';
const adminRule = `rules:
  - id: keys-are-for-people
    description: No agent looks at keys.
    when: request.url_path.startsWith("/admin/")
    effect: deny
    message: Ask a person.
`;

export const ruleSteps: readonly TourStep[] = [
  {
    title: 'Why was that denied? (postern explain)',
    expected: 'writes-need-the-write-scope did not match; it would have with "repo:write" in token.scopes',
    run: async (tour) => explainDenial(tour),
  },
  {
    title: 'A path that no rule allows, until somebody writes a rule about it, with no restart',
    expected: '403 no_matching_rule; then 403 rule_denied, by the new rule',
    async run(tour) {
      const agent = await tour.agent('agent-7');
      const before = await agent.call(adminPath);
      await writeFile(join(tour.parts.rulesFolder, 'admin.yaml'), adminRule);
      const reload = await tour.post('/v1/reload', {});
      const after = await agent.call(adminPath);
      const isAsTold = isDenied(before, 403, 'no_matching_rule') && isDenied(after, 403, 'rule_denied');
      return {
        seen: `${tell(before)}; reload ${reload.status}; ${tell(after)} by ${after.rule ?? 'no rule'}`,
        isAsTold: isAsTold && after.rule === 'keys-are-for-people',
      };
    },
  },
  {
    title: 'Rules have tests (postern test)',
    expected: 'every case passes',
    run: async (tour) => testRules(tour),
  },
];

export const securitySteps: readonly TourStep[] = [
  {
    title: 'An API answers with its own key in it, as debug pages do',
    expected: '502 credential_leak_blocked; the key does not come through',
    async run(tour) {
      const verdict = await (await tour.agent('agent-7')).call(`${repository}/debug`);
      const isBlocked = verdict.status === 502 && verdict.reason === 'credential_leak_blocked';
      const holds = verdict.body.includes(tour.parts.apiKey);
      return { seen: `${tell(verdict)}${holds ? '; THE KEY CAME THROUGH' : ''}`, isAsTold: isBlocked && !holds };
    },
  },
  {
    title: 'An agent is revoked in the middle of a stream of events',
    expected: 'the stream is cut within a second; from the next call on 401 token_revoked, with the same token',
    run: async (tour) => revokeStream(tour),
  },
  {
    title: `${leaver} leaves, and somebody offboards them with all their agents`,
    expected: 'both agents get 200 before, and 401 token_revoked after',
    run: async (tour) => offboardLeaver(tour),
  },
];

async function explainDenial(tour: Tour): Promise<Seen> {
  const denied = tour.verdicts.findLast(({ reason }) => reason === 'scope_insufficient');
  const { body } = await tour.post('/v1/explain', { decision: denied?.decisionId ?? '' });
  const { explanation } = body as Partial<RecordExplanation>;
  const flip = explanation?.toFlip.rules.find(({ rule }) => rule === denied?.rule);
  const [change] = flip?.changes ?? [];
  if (flip === undefined || change === undefined) return { seen: 'no explanation', isAsTold: false };
  const result = explanation?.rules.find(({ id }) => id === flip.rule)?.result ?? 'unknown';
  return {
    seen: `${flip.rule} ${result}; it would have matched if ${change.source} were ${String(change.mustBe)}`,
    isAsTold:
      flip.rule === 'writes-need-the-write-scope' &&
      flip.mustMatch &&
      result === 'not matched' &&
      change.source === '"repo:write" in token.scopes' &&
      change.mustBe === true,
  };
}

async function testRules({ parts }: Tour): Promise<Seen> {
  const reading = createBareReading(createNameOperation(new Map()));
  const { results, problems } = await runTests({ createCompile, ...reading, paths: [parts.rulesFolder] });
  const passed = results.filter(({ mismatches }) => mismatches.length === 0).length;
  return {
    seen: `${passed} of ${results.length} cases pass`,
    isAsTold: problems.length === 0 && results.length > 0 && passed === results.length,
  };
}

async function revokeStream(tour: Tour): Promise<Seen> {
  const agent = await tour.agent('agent-streamer');
  const stream = await agent.stream(`${repository}/events`);
  await stream.begun;
  const startedMs = performance.now();
  const { status } = await tour.revoke('agent-streamer', 'Shown on the tour');
  const streamed = await stream.ended;
  const elapsedMs = Math.round(performance.now() - startedMs);
  const after = await agent.call(repository);
  const isCut = isAllowed(streamed, 200) && streamed.bodyEnd === 'cut' && elapsedMs < cutWithinMs;
  return {
    seen: `${tell(streamed)}, ${streamed.bodyEnd === 'cut' ? `cut after ${elapsedMs} ms` : 'NOT CUT'}; ${tell(after)}`,
    isAsTold: isCut && status === 201 && isDenied(after, 401, 'token_revoked'),
  };
}

async function offboardLeaver(tour: Tour): Promise<Seen> {
  const names: readonly DemoAgent[] = ['agent-day', 'agent-night'];
  const agents = await Promise.all(names.map((name) => tour.agent(name)));
  const before = await Promise.all(agents.map((agent) => agent.call(repository)));
  const { status, entries } = await tour.offboard(leaver, 'Shown on the tour');
  const after = await Promise.all(agents.map((agent) => agent.call(repository)));
  return {
    seen: `${before.map(tell).join(', ')}; offboarding ${status}, ${entries} revocations; ${after.map(tell).join(', ')}`,
    isAsTold:
      status === 200 &&
      before.every((verdict) => isAllowed(verdict, 200)) &&
      after.every((verdict) => isDenied(verdict, 401, 'token_revoked')),
  };
}
