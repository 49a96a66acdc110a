/** Reads PromQL for what it names: metrics, and the labels that it selects, groups and joins by. */

import { parser } from '@prometheus-io/lezer-promql';

export type Selector = { readonly metric: string; readonly labels: readonly string[] };

export type Reading = {
  /** Source text of each part that is not PromQL. */
  readonly errors: readonly string[];
  readonly selectors: readonly Selector[];
  /** Labels of by, without, on, ignoring, group_left and group_right. */
  readonly groupingLabels: readonly string[];
};

type Node = ReturnType<typeof parser.parse>['topNode'];

/** Reads one expression. Grafana's own variables are given a value first, since they are no PromQL. */
export function readPromql(expression: string): Reading {
  const text = withVariables(expression);
  const errors: string[] = [];
  const selectors: Selector[] = [];
  const groupingLabels: string[] = [];
  const textOf = ({ from, to }: Node) => text.slice(from, to);
  parser.parse(text).iterate({
    enter(reference) {
      const node = reference.node;
      if (node.type.isError) errors.push(text.slice(Math.max(0, node.from - 20), node.to + 20));
      if (node.name === 'VectorSelector') {
        const metric = node.getChild('Identifier');
        selectors.push({ metric: metric === null ? '' : textOf(metric), labels: matcherLabels(node, textOf) });
      }
      if (node.name === 'GroupingLabels') groupingLabels.push(...node.getChildren('LabelName').map(textOf));
    },
  });
  return { errors, selectors, groupingLabels };
}

function matcherLabels(selector: Node, textOf: (node: Node) => string): readonly string[] {
  const matchers = selector.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? [];
  return matchers.flatMap((matcher) => matcher.getChildren('LabelName').map(textOf));
}

function withVariables(expression: string): string {
  return expression
    .replaceAll('$__rate_interval', '5m')
    .replaceAll('$__range', '1h')
    .replaceAll(/"\$(namespace|pod|route)"/g, '".*"');
}
