/** Untrusted JSON as CEL values: nested Maps and arrays, without null, bounded. */

import { documentCharsMax, documentDepthMax, documentNodesMax, itemsMax } from './bounds.ts';

/** What may still be converted, and the first bound that was exceeded. */
type Budget = {
  nodes: number;
  chars: number;
  exceeded: string | null;
  readonly keepsPlaces: boolean;
  readonly nodesMax: number;
};

/** The members of a JSON object; a string says which bound they exceed. */
export function convertDocument(
  document: Readonly<Record<string, unknown>>,
  nodesMax = documentNodesMax,
): ReadonlyMap<string, unknown> | string {
  const budget = newBudget(false, nodesMax);
  const converted = convertObject(document, documentDepthMax, budget);
  return budget.exceeded ?? converted;
}

/**
 * Any JSON value; undefined for null and for undefined. Where a bound is exceeded there is no value at all. In a list an
 * empty Map stands for null, so that an item has the same index for a rule as for whoever reads the JSON after it.
 */
export function convertValue(json: unknown): { readonly value: unknown; readonly exceeded: string | null } {
  const budget = newBudget(true, documentNodesMax);
  const value = convert(json, documentDepthMax + 1, budget);
  return { value: budget.exceeded === null ? value : undefined, exceeded: budget.exceeded };
}

function newBudget(keepsPlaces: boolean, nodesMax: number): Budget {
  return { nodes: nodesMax, chars: documentCharsMax, exceeded: null, keepsPlaces, nodesMax };
}

function convertObject(object: object, depth: number, budget: Budget): ReadonlyMap<string, unknown> {
  const entries = Object.entries(object);
  if (entries.length > itemsMax) budget.exceeded ??= `an object has more than ${itemsMax} members`;
  const map = new Map<string, unknown>();
  for (const [name, member] of entries) {
    spend(budget, name.length);
    if (budget.exceeded !== null) break;
    const value = convert(member, depth, budget);
    // CEL's null is of no use to a rule and easily forgotten, so a null member is an absent one.
    if (value !== undefined) map.set(name, value);
  }
  return map;
}

/**
 * CEL's conversion of JSON makes every number a double. Comparisons with ints are by value, so `level >= 3`,
 * `level == 3` and `level in [1, 3]` hold for what JSON writes as 3.
 */
function convert(value: unknown, depth: number, budget: Budget): unknown {
  spend(budget, typeof value === 'string' ? value.length : 0);
  if (budget.exceeded !== null) return undefined;
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth <= 1) {
    budget.exceeded = `nested more than ${documentDepthMax} deep`;
    return undefined;
  }
  if (!Array.isArray(value)) return convertObject(value, depth - 1, budget);
  if (value.length > itemsMax) {
    budget.exceeded = `a list has more than ${itemsMax} items`;
    return undefined;
  }
  const items = value.map((item) => convert(item, depth - 1, budget));
  return budget.keepsPlaces ? items.map((item) => item ?? nothing) : items.filter((item) => item !== undefined);
}

const nothing: ReadonlyMap<string, unknown> = new Map();

function spend(budget: Budget, chars: number): void {
  budget.nodes--;
  budget.chars -= chars;
  if (budget.nodes < 0) budget.exceeded ??= `more than ${budget.nodesMax} values`;
  if (budget.chars < 0) budget.exceeded ??= `more than ${documentCharsMax} characters`;
}
