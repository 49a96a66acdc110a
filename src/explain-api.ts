/** `POST /v1/explain`: why a recent decision, or one about a request that is described, comes out as it does. */

import type { AdminProblem } from './admin-answer.ts';
import { createNameOperation } from './behaviour/actions/operation.ts';
import { isDeny } from './decision.ts';
import { createReading } from './described-requests.ts';
import { createCompile } from './policy/cel.ts';
import { createDescribe } from './policy/described.ts';
import { explainDecision, explainRecord, isExplainableRecord } from './policy/explain-decision.ts';
import { createGivenSchema, type Given } from './policy/tests/test-schema.ts';
import type { Parts } from './stages.ts';

/** Takes `{"decision": id}` or `{"given": …}`; gives null where there is no such decision. */
export function createExplain(
  { config, vetted }: Pick<Parts, 'config' | 'vetted'>,
  findDecision: (id: string) => string | null,
): (body: unknown) => Promise<object | AdminProblem | null> {
  const { ruleSet } = vetted;
  const meters = Object.keys(config.meters);
  const policy = { ruleSet, compile: createCompile({ meters }) };
  const reading = createReading({
    routes: vetted.routes,
    meters,
    urlBytesMax: config.limits.url,
    nameOperation: createNameOperation(vetted.operations),
  });
  const routes = vetted.routes.map(({ name }) => name);
  const describe = createDescribe({ ...reading, ruleSet, meters, routes });
  const givenSchema = createGivenSchema(meters);
  return async (body) => {
    const asked = typeof body === 'object' && body !== null ? (body as Readonly<Record<string, unknown>>) : {};
    const [name, ...others] = Object.keys(asked);
    if (others.length > 0 || (name !== 'decision' && name !== 'given')) {
      return { problem: 'Send one member: decision, an id, or given, what a case of a rule test gives.' };
    }
    if (name === 'decision') {
      const line = typeof asked.decision === 'string' ? findDecision(asked.decision) : null;
      const record: unknown = line === null ? null : JSON.parse(line);
      return isExplainableRecord(record) ? explainRecord(policy, record) : null;
    }
    const given = givenSchema.safeParse(asked.given);
    if (!given.success) {
      const [issue] = given.error.issues;
      return { problem: `given.${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not of that form'}` };
    }
    const context = describe(given.data as Given);
    if (!isDeny(context)) return { explanation: await explainDecision(policy, context) };
    return { refused: { reason: context.reason, cause: context.cause ?? null } };
  };
}
