import { expect, test } from 'vitest';
import { openCrowd } from '../bench/crowd.ts';
import { prefixesMax, variablesMax } from '../src/behaviour/actions/learned.ts';
import { createSessions } from '../src/behaviour/drift/sessions.ts';
import type { DriftStore } from '../src/store/drift-port.ts';
import { createMemoryAgents } from '../src/store/memory-agents.ts';
import { createMemoryDrift } from '../src/store/memory-drift.ts';

const agentsInMemory = 50;

async function open(store: DriftStore) {
  return openCrowd({ store, agentStore: createMemoryAgents(), drift: { agentsInMemory } });
}

test('thousands of agents, each on paths of its own, stay within bounds and are known when they come back', async () => {
  const crowd = await open(createMemoryDrift());
  const { engine, keeper } = crowd.parts.running() ?? {};
  if (engine === undefined || keeper === undefined) throw new Error('behaviour is not judged');
  const agents = 5000;
  let largest = 0;
  for (let agent = 0; agent < agents; agent++) {
    await crowd.call(`agent-${agent}`, `/things/${agent}/${agent % 7}`);
    largest = Math.max(largest, keeper.size());
    if (agent % 100 === 99) expect(await crowd.call(`agent-${agent - 99}`, '/things')).toBe(1);
  }
  expect(largest).toBeLessThanOrEqual(agentsInMemory + 2);
  expect([crowd.lost(), crowd.stale()]).toEqual([0, 0]);
  // Names are kept of the newest 4,096 actions, and one place of the path has become a variable.
  expect(engine.drift.actionNames().length).toBeLessThanOrEqual(4096);
  expect(engine.learned.variables().length).toBeLessThanOrEqual(variablesMax);
  expect(prefixesMax).toBeLessThan(agents);
  for (let agent = 0; agent < agents; agent += 250) {
    expect(await crowd.call(`agent-${agent}`, '/things')).toBe(agent % 100 === 0 ? 2 : 1);
  }
  await crowd.close();
});

test('agents that all come at once are held to twice the bound, and what is lost of them is counted', async () => {
  const store = createMemoryDrift();
  // As slow as can be: a write ends when all have called.
  const gate = Promise.withResolvers<void>();
  const slow: DriftStore = {
    ...store,
    write: async (...given) => {
      if (given[0].includes(':agent:')) await gate.promise;
      return store.write(...given);
    },
  };
  const crowd = await open(slow);
  const keeper = crowd.parts.running()?.keeper;
  for (let agent = 0; agent < 1000; agent++) {
    await crowd.call(`agent-${agent}`, '/things');
    expect(keeper?.size()).toBeLessThanOrEqual(2 * agentsInMemory);
  }
  const lost = crowd.lost();
  expect(lost).toBeGreaterThan(0);
  gate.resolve();
  await crowd.close();
  const later = await open(store);
  let known = 0;
  for (let agent = 0; agent < 1000; agent++) known += await later.call(`agent-${agent}`, '/things');
  expect(known).toBeGreaterThanOrEqual(1000 - lost);
  await later.close();
});

test('sessions are held to their bound', () => {
  const sessions = createSessions(10);
  for (let index = 0; index < 1000; index++) sessions.get('agent', `session-${index}`, 0).previous = 7;
  const held = Array.from({ length: 1000 }, (_, index) => sessions.get('agent', `session-${999 - index}`, 0).previous);
  expect(held.filter((previous) => previous === 7)).toHaveLength(10);
});
