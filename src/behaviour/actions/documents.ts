/** The OpenAPI documents of all routes, read and compiled at start. */

import type { Config } from '../../config/schema.ts';
import type { ConfigurationProblem, Problem } from '../../errors.ts';
import { loadOperations } from './openapi.ts';
import { createFindOperation, type FindOperation, type Operation } from './path-trie.ts';

export type Documents = {
  /** By the name of the route. */
  readonly operations: ReadonlyMap<string, FindOperation>;
  /** In the documents. */
  readonly problems: readonly Problem[];
  /** In what the configuration says of them. */
  readonly misfits: readonly ConfigurationProblem[];
};

export function loadDocuments(routes: Config['routes']): Documents {
  const loaded = new Map<string, ReturnType<typeof loadOperations>>();
  const operations = new Map<string, FindOperation>();
  const problems: Problem[] = [];
  const misfits: ConfigurationProblem[] = [];
  for (const [index, { name, openapi, ...route }] of routes.entries()) {
    if (openapi === undefined) continue;
    const isKnown = loaded.has(openapi);
    const found = loaded.get(openapi) ?? loadOperations(openapi);
    loaded.set(openapi, found);
    if (!('operations' in found)) {
      if (!isKnown) problems.push(...found);
      continue;
    }
    const base = baseOf(route);
    if (!found.operations.some(({ template }) => isBelow(template, base))) {
      const message = `describes nothing below ${base}, where the route leads; see the servers and paths of the document`;
      misfits.push({ path: ['routes', index, 'openapi'], message });
    }
    operations.set(name, createFindOperation(found.operations));
  }
  return { operations, problems, misfits };
}

/** What the path of every request that goes upstream on this route begins with. */
function baseOf({ upstream, match, stripPrefix }: Omit<Config['routes'][number], 'name' | 'openapi'>): string {
  const stem = (path: string) => (path.endsWith('/') ? path.slice(0, -1) : path);
  return `${stem(new URL(upstream).pathname)}${stripPrefix ? '' : stem(match.pathPrefix)}` || '/';
}

/** Whether some path of the template can lie below the base. */
function isBelow(template: Operation['template'], base: string): boolean {
  const wanted = base.split('/').filter((segment) => segment !== '');
  const segments = template.split('/').slice(1);
  return wanted.every((segment, index) => segments[index] === segment || segments[index]?.includes('{') === true);
}
