import { createMemoryAgents } from '../../src/store/memory-agents.ts';
import { agentStoreContract } from './agents.contract.ts';

agentStoreContract(async (bounds) => {
  const store = createMemoryAgents(bounds);
  return [store, store];
});
