/**
 * Actions for baselines where no document names the operations: `/users/alice` and `/users/bob` are one action once it
 * is plain that any name may stand there. What rules see as `request.operation` never depends on it.
 *
 * An agent must not be able to make a template of its own attack. So a place becomes a variable only where many
 * different names were each seen by several agents, and by calls that succeeded. It stays one, and the variables are all
 * that decides what an operation is called: replicas that have the same ones, in whatever order, agree.
 */

/** Different names, each seen by `agentsMin` agents, that make a place a variable. */
export const namesMin = 40;
export const agentsMin = 3;
/** Prefixes of paths remembered for each route and method. */
export const prefixesMax = 2048;
/** Of those, prefixes that one agent was the first to see and that too few others have. */
export const prefixesOfAgentMax = 256;
/** Variables in all. */
export const variablesMax = 1024;

/** What was seen of one route and method. A prefix is a path cut after a segment. */
type Seen = {
  /** By prefix that too few agents have seen, the one longest ago first: which agents. */
  readonly fresh: Map<string, readonly string[]>;
  /** By agent: prefixes among `fresh` that it was the first to see. */
  readonly firsts: Map<string, Set<string>>;
  /** Prefixes that enough agents have seen. */
  readonly settled: Set<string>;
  /** By place: how many names enough agents have seen there. */
  readonly names: Map<string, number>;
};

export type LearnedActions = {
  /** What a baseline calls this operation. */
  readonly actionOf: (route: string, operation: string) => string;
  /** Learns from an answer; gives the action that a baseline is to learn, which may be coarser than what was judged. */
  readonly learn: (call: {
    readonly route: string;
    readonly operation: string;
    readonly agent: string;
    readonly status: number;
  }) => string;
  /** The variables so far, for other replicas. */
  readonly variables: () => readonly string[];
  readonly adopt: (variables: readonly string[]) => void;
};

/** `documented` names the routes with an OpenAPI document: their operations are what it says. */
export function createLearnedActions({
  documented,
}: {
  readonly documented: Pick<ReadonlySet<string>, 'has'>;
}): LearnedActions {
  const variables = new Set<string>();
  const seenByKey = new Map<string, Seen>();
  const isFixed = (route: string, operation: string) => operation.startsWith('mcp:') || documented.has(route);

  function actionOf(route: string, operation: string): string {
    if (variables.size === 0 || isFixed(route, operation)) return operation;
    const { method, segments } = parse(operation);
    const place = segments.reduce((before, name) => nextPlace(`${route} ${method}`, before, name), '');
    return `${method} ${place}`;
  }

  function nextPlace(key: string, place: string, name: string): string {
    return `${place}/${variables.has(`${key} ${place}`) ? '{var}' : name}`;
  }

  /** Whether there was room to remember the path. */
  function remember(key: string, segments: readonly string[], agent: string): boolean {
    const seen = seenByKey.get(key) ?? newSeen();
    seenByKey.set(key, seen);
    let place = '';
    for (const name of segments) {
      const prefix = nextPlace(key, place, name);
      if (!see(seen, place, prefix, agent)) return false;
      if ((seen.names.get(place) ?? 0) >= namesMin && variables.size < variablesMax) {
        variables.add(`${key} ${place}`);
        forgetBelow(seen, place);
        return true;
      }
      place = prefix;
    }
    return true;
  }

  return {
    actionOf,
    learn({ route, operation, agent, status }) {
      if (isFixed(route, operation)) return operation;
      const { method, segments } = parse(operation);
      // What is not there is no action of its own, or an agent that guesses would fill its own baseline with guesses.
      if (status === 404 || status === 405 || status === 410) return `${method} {unmatched}`;
      const action = actionOf(route, operation);
      const isOk = status >= 200 && status < 300;
      const key = `${route} ${method}`;
      if (!isOk || isKnown(seenByKey.get(key), action.slice(method.length + 1), agent)) return action;
      return remember(key, segments, agent) ? actionOf(route, operation) : `${method} {*}`;
    },
    variables: () => [...variables],
    adopt(others) {
      for (const variable of others) {
        if (variables.size >= variablesMax || variables.has(variable)) continue;
        const [route = '', method = '', place, ...rest] = variable.split(' ');
        if (place === undefined || rest.length > 0) continue;
        variables.add(variable);
        const seen = seenByKey.get(`${route} ${method}`);
        if (seen !== undefined) forgetBelow(seen, place);
      }
    },
  };
}

function parse(operation: string): { method: string; segments: readonly string[] } {
  const blank = operation.indexOf(' ');
  return { method: operation.slice(0, blank), segments: operation.slice(blank + 2).split('/') };
}

const newSeen = (): Seen => ({ fresh: new Map(), firsts: new Map(), settled: new Set(), names: new Map() });

/** Whether the agent has seen this very path before, and so every prefix of it: then there is nothing to be learned. */
function isKnown(seen: Seen | undefined, path: string, agent: string): boolean {
  if (seen === undefined || seen.settled.has(path)) return seen !== undefined;
  const agents = seen.fresh.get(path);
  if (agents?.includes(agent) !== true) return false;
  seen.fresh.delete(path);
  seen.fresh.set(path, agents);
  return true;
}

/** Notes that the agent has seen the prefix, whose last name stands at the place. False where there is no room. */
function see(seen: Seen, place: string, prefix: string, agent: string): boolean {
  if (seen.settled.has(prefix)) return true;
  const agents = seen.fresh.get(prefix);
  if (agents === undefined) {
    if (!makeRoom(seen, agent)) return false;
    seen.fresh.set(prefix, [agent]);
    const firsts = seen.firsts.get(agent);
    if (firsts === undefined) seen.firsts.set(agent, new Set([prefix]));
    else firsts.add(prefix);
    return true;
  }
  const all = agents.includes(agent) ? agents : [...agents, agent];
  seen.fresh.delete(prefix);
  if (all.length < agentsMin) seen.fresh.set(prefix, all);
  else {
    forgetFirst(seen, agents[0] ?? '', prefix);
    seen.settled.add(prefix);
    seen.names.set(place, (seen.names.get(place) ?? 0) + 1);
  }
  return true;
}

/** An agent that brings much makes room by what it brought itself; then what nobody has used for long goes. */
function makeRoom(seen: Seen, agent: string): boolean {
  const own = seen.firsts.get(agent);
  if (own !== undefined && own.size >= prefixesOfAgentMax) return forgetFresh(seen, own.values().next().value);
  if (seen.fresh.size + seen.settled.size < prefixesMax) return true;
  return forgetFresh(seen, seen.fresh.keys().next().value);
}

function forgetFresh(seen: Seen, prefix: string | undefined): boolean {
  if (prefix === undefined) return false;
  const [first = ''] = seen.fresh.get(prefix) ?? [];
  seen.fresh.delete(prefix);
  forgetFirst(seen, first, prefix);
  return true;
}

function forgetFirst({ firsts }: Seen, agent: string, prefix: string): void {
  const own = firsts.get(agent);
  own?.delete(prefix);
  if (own?.size === 0) firsts.delete(agent);
}

/** Where any name may stand, what was seen behind single names is of no more use. */
function forgetBelow(seen: Seen, place: string): void {
  const below = `${place}/`;
  for (const prefix of [...seen.fresh.keys()]) if (prefix.startsWith(below)) forgetFresh(seen, prefix);
  for (const prefix of seen.settled) if (prefix.startsWith(below)) seen.settled.delete(prefix);
  for (const other of seen.names.keys()) if (other === place || other.startsWith(below)) seen.names.delete(other);
}
