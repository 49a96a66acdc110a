/** Whether some request could meet a condition. Never says no where one could; says yes where it can't tell. */

import type { Condition, Literal, Meaning, Test } from './condition.ts';

/** What is known of one expression when all that was looked at holds. */
type Known = {
  /** Null where it may be anything. */
  readonly values: readonly Literal[] | null;
  readonly excluded: readonly Literal[];
  readonly over: Bound | null;
  readonly under: Bound | null;
  readonly texts: readonly TextMeaning[];
};
type Bound = { readonly bound: number; readonly isIncluded: boolean };
type TextMeaning = Meaning & { readonly kind: 'startsWith' | 'endsWith' | 'contains' };
type Facts = ReadonlyMap<string, Known>;

const nothing: Known = { values: null, excluded: [], over: null, under: null, texts: [] };
/** Steps until it is said that it can't be told. */
const stepsMax = 20_000;

/** All of these together. */
export function isFeasible(conditions: readonly Condition[]): boolean {
  return search(conditions, new Map(), { left: stepsMax });
}

function search(conditions: readonly Condition[], facts: Facts, steps: { left: number }): boolean {
  let known = facts;
  const open = [...conditions];
  const choices: (readonly Condition[])[] = [];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (--steps.left < 0) return true;
    if (next.kind === 'constant') {
      if (!next.value) return false;
    } else if (next.kind === 'all') {
      open.push(...next.parts);
    } else if (next.kind === 'any') {
      choices.push(next.parts);
    } else {
      const narrowed = narrow(known, next);
      if (narrowed === null) return false;
      known = narrowed;
    }
  }
  const [first, ...others] = choices;
  if (first === undefined) return true;
  const rest = others.map((parts): Condition => ({ kind: 'any', parts }));
  return first.some((part) => search([part, ...rest], known, steps));
}

/** The facts with what this test adds to them; null where they contradict it. */
function narrow(facts: Facts, { source, holds, about }: Test): Facts | null {
  const narrowed = new Map(facts);
  const itself = add(facts.get(source) ?? nothing, { kind: 'oneOf', values: [holds] });
  if (isEmpty(itself)) return null;
  narrowed.set(source, itself);
  if (about === null) return narrowed;
  const before = narrowed.get(about.source) ?? nothing;
  // That a number is not above a bound does not make it lie below: it may be none. Its test by itself says enough.
  const after = holds
    ? add(before, about.meaning)
    : about.meaning.kind === 'oneOf'
      ? { ...before, excluded: [...before.excluded, ...about.meaning.values] }
      : before;
  if (isEmpty(after)) return null;
  return narrowed.set(about.source, after);
}

function add(known: Known, meaning: Meaning): Known {
  switch (meaning.kind) {
    case 'oneOf':
      return { ...known, values: known.values?.filter((value) => meaning.values.includes(value)) ?? meaning.values };
    case 'over':
      return { ...known, over: tighter(known.over, meaning, (one, other) => one > other) };
    case 'under':
      return { ...known, under: tighter(known.under, meaning, (one, other) => one < other) };
    default:
      return { ...known, texts: [...known.texts, meaning as TextMeaning] };
  }
}

function tighter(known: Bound | null, added: Bound, isTighter: (one: number, other: number) => boolean): Bound {
  if (known === null || isTighter(added.bound, known.bound)) return added;
  if (added.bound === known.bound && !added.isIncluded) return added;
  return known;
}

function isEmpty(known: Known): boolean {
  const { values, excluded, over, under } = known;
  if (values !== null) return !values.some((value) => !excluded.includes(value) && fits(value, known));
  if (over !== null && under !== null) {
    if (over.bound > under.bound) return true;
    if (over.bound === under.bound) {
      return !(over.isIncluded && under.isIncluded) || excluded.includes(over.bound);
    }
  }
  return startsDiffer(known);
}

function fits(value: Literal, { over, under, texts }: Known): boolean {
  const isAbove = over === null || isBeyond(value, over, 1);
  const isBelow = under === null || isBeyond(value, under, -1);
  return isAbove && isBelow && texts.every((text) => typeof value === 'string' && hasText(value, text));
}

function isBeyond(value: Literal, { bound, isIncluded }: Bound, direction: 1 | -1): boolean {
  if (typeof value !== 'number') return false;
  return (value - bound) * direction > 0 || (isIncluded && value === bound);
}

function hasText(value: string, { kind, text }: TextMeaning): boolean {
  if (kind === 'contains') return value.includes(text);
  return kind === 'startsWith' ? value.startsWith(text) : value.endsWith(text);
}

function startsDiffer({ texts }: Known): boolean {
  const differ = (kind: 'startsWith' | 'endsWith', fit: (one: string, other: string) => boolean) => {
    const wanted = texts.filter((text) => text.kind === kind).map(({ text }) => text);
    return wanted.some((one) => wanted.some((other) => !fit(one, other) && !fit(other, one)));
  };
  return (
    differ('startsWith', (one, other) => one.startsWith(other)) ||
    differ('endsWith', (one, other) => one.endsWith(other))
  );
}
