import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  agentsMin,
  createLearnedActions,
  type LearnedActions,
  namesMin,
  prefixesOfAgentMax,
} from '../../../src/behaviour/actions/learned.ts';

const create = () => createLearnedActions({ documented: new Set(['documented']) });
const agents = ['a', 'b', 'c', 'd'];

/** These agents call each of the paths, with success unless told otherwise. */
function call(learned: LearnedActions, callers: readonly string[], paths: readonly string[], status = 200): string[] {
  return callers.flatMap((agent) =>
    paths.map((path) => learned.learn({ route: 'api', operation: `GET ${path}`, agent, status })),
  );
}

const users = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `/users/u${from + index}x`);

describe('createLearnedActions', () => {
  it('takes names for a variable once enough of them were each seen by enough agents', () => {
    const learned = create();
    call(learned, agents.slice(0, agentsMin), users(namesMin - 1));
    expect(learned.actionOf('api', 'GET /users/someone')).toBe('GET /users/someone');
    call(learned, agents.slice(0, agentsMin - 1), users(1, namesMin));
    expect(learned.actionOf('api', 'GET /users/someone')).toBe('GET /users/someone');
    call(learned, agents.slice(agentsMin - 1), users(1, namesMin));
    expect(learned.actionOf('api', 'GET /users/someone')).toBe('GET /users/{var}');
    expect(learned.actionOf('api', 'GET /users/someone/keys')).toBe('GET /users/{var}/keys');
    expect(learned.actionOf('api', 'GET /users')).toBe('GET /users');
    for (const [route, operation] of [
      ['api', 'POST /users/someone'],
      ['other', 'GET /users/someone'],
      ['documented', 'GET /users/someone'],
    ] as const) {
      expect(learned.actionOf(route, operation)).toBe(operation);
    }
  });

  it('goes on to learn what lies behind a variable', () => {
    const learned = create();
    call(learned, agents, users(namesMin));
    call(
      learned,
      agents,
      users(namesMin).map((path, index) => `${path}/files/f${index}`),
    );
    expect(learned.actionOf('api', 'GET /users/x/files/y')).toBe('GET /users/{var}/files/{var}');
  });

  it.each([301, 400, 401, 403, 404, 500])('learns no name from answers with %i', (status) => {
    const learned = create();
    call(learned, agents, users(2 * namesMin), status);
    expect(learned.variables()).toEqual([]);
  });

  it.each([404, 405, 410])('has one action for all that is not there: %i', (status) => {
    expect(new Set(call(create(), agents, users(5), status))).toEqual(new Set(['GET {unmatched}']));
  });

  it('leaves tools and documented operations as they are', () => {
    const learned = create();
    const names = Array.from({ length: 2 * namesMin }, (_, index) => `mcp:tools/call:t${index}`);
    for (const operation of names) {
      for (const agent of agents) {
        expect(learned.learn({ route: 'api', operation, agent, status: 404 })).toBe(operation);
        expect(learned.learn({ route: 'documented', operation: 'getPet', agent, status: 404 })).toBe('getPet');
      }
    }
    expect(learned.variables()).toEqual([]);
  });

  it('is not widened by fewer agents than that, whatever they do', () => {
    const step = fc.record({
      agent: fc.constantFrom('a', 'b'),
      path: fc.tuple(fc.constantFrom('x', 'y'), fc.nat(60)).map(([stem, name]) => `/${stem}/n${name}`),
      status: fc.constantFrom(200, 201, 204, 404, 500),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 200, maxLength: 1000 }), (steps) => {
        const learned = create();
        for (const { agent, path, status } of steps) {
          learned.learn({ route: 'api', operation: `GET ${path}`, agent, status });
          expect(learned.actionOf('api', `GET ${path}`)).toBe(`GET ${path}`);
        }
        expect(learned.variables()).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });

  it('forgets by what an agent brought itself, so that nobody else loses anything', () => {
    const learned = create();
    const shared = users(namesMin);
    call(learned, agents.slice(0, agentsMin - 1), shared);
    call(learned, ['enumerator'], users(20 * prefixesOfAgentMax, 1000));
    call(learned, agents.slice(agentsMin - 1, agentsMin), shared);
    expect(learned.actionOf('api', 'GET /users/someone')).toBe('GET /users/{var}');
  });

  it('remembers no more than it may, and then calls the rest by one name', () => {
    const learned = create();
    // Each place holds too few names for a variable, and together they are too many.
    const paths = Array.from({ length: 35 * 35 }, (_, index) => `/p${index % 35}/q${Math.floor(index / 35)}`);
    for (const path of [...paths, ...paths.map((path) => `${path}/r`)]) call(learned, agents, [path]);
    expect(learned.variables()).toEqual([]);
    expect(call(learned, agents, ['/p0/q0', '/p0/q0/new', '/new'])).toEqual(
      agents.flatMap(() => ['GET /p0/q0', 'GET {*}', 'GET {*}']),
    );
    expect(learned.actionOf('api', 'GET /new')).toBe('GET /new');
  });

  it('agrees with other replicas whatever the order in which they hear of each other', () => {
    const one = create();
    const other = create();
    call(one, agents, users(namesMin));
    call(
      other,
      agents,
      users(namesMin).map((path) => `/orgs${path}`),
    );
    const known = [...one.variables(), ...other.variables()];
    expect(known).toHaveLength(2);
    const third = create();
    const fourth = create();
    third.adopt(known);
    third.adopt(known);
    fourth.adopt(known.toReversed());
    one.adopt(other.variables());
    other.adopt(one.variables());
    for (const operation of ['GET /users/z/k', 'GET /orgs/users/z', 'GET /orgs/z', 'GET /']) {
      const names = [one, other, third, fourth].map((learned) => learned.actionOf('api', operation));
      expect(new Set(names).size, operation).toBe(1);
    }
  });

  it('takes nothing that is no variable from others', () => {
    const learned = create();
    learned.adopt(['', 'api', 'api GET', 'api GET /a b', 'api GET /users']);
    expect(learned.variables()).toEqual(['api GET /users']);
  });
});
