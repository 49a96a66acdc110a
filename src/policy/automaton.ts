/**
 * How dear a regular expression is for each character that it looks at. The engine builds its automaton as it meets new
 * text, and to build a state takes a hundred times as long as to pass through one. So the whole automaton is built when
 * the expression is loaded, and an expression whose automaton is too large for that is refused: text made for it could
 * make every character build another state.
 */

import type { RE2JS } from 're2js';
import { automatonStatesMax, automatonStepsMax } from './bounds.ts';

/** What is used of the engine's automaton. Its declarations leave these members out. */
type Automaton = {
  readonly failed: boolean;
  readonly numClasses: number;
  /** First character of each class but the first. */
  readonly classBounds: Int32Array;
  start(input: { context(): number }, position: number): State | null;
  step(state: State, characterClass: number, character: number, anchor: number): State | null;
};
type State = object;
type Matcher = { readonly dfa?: Automaton; onepass?: object | null };

const unanchored = 0;
/** The engine's flags for the beginning of a line and of the text: where every search of ours begins. */
const beginning = { context: () => 1 | 4 };
/** What the engine passes for the end of the text. */
const endOfText = -1;

/** Builds the automaton and gives the units that each character costs; null where the automaton is too large. */
export function charCost(pattern: RE2JS): number | null {
  const matcher = pattern.re2() as unknown as Matcher;
  // It has another way for what is simple enough, which takes ten times as long for each character.
  matcher.onepass = null;
  const automaton = matcher.dfa;
  if (automaton === undefined || automaton.failed || !isBuilt(automaton)) return null;
  // Literals that the text must hold are searched for first; then each character is looked up among the classes.
  return 0.3 + Math.log2(automaton.numClasses + 1) / 24;
}

function isBuilt(automaton: Automaton): boolean {
  const { numClasses, classBounds } = automaton;
  const first = automaton.start(beginning, 0);
  if (first === null) return false;
  const seen = new Set([first]);
  let steps = 0;
  for (const state of seen) {
    for (let index = 0; index <= numClasses; index++) {
      if (++steps > automatonStepsMax) return false;
      const character = index === numClasses ? endOfText : index === 0 ? 0 : (classBounds[index - 1] ?? 0);
      const next = automaton.step(state, index, character, unanchored);
      if (next === null) return false;
      seen.add(next);
      if (seen.size > automatonStatesMax) return false;
    }
  }
  return true;
}
