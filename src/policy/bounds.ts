/**
 * The bounds that keep rules cheap whatever they are asked about.
 *
 * A cost unit is about 50 ns of work: one visited node of an expression. The cost of an expression is its worst case
 * over every request that the bounds below let through, so a rule set that loads is a rule set that can't be made slow.
 */

/** Units for one expression: 1 ms. A loop over a value of a request fits, such a loop in another mostly does not. */
export const expressionCostMax = 20_000;
/** Units for all rules together, 10 ms: room for ten of the dearest, or for a thousand that cost 10 us at worst. */
export const ruleSetCostMax = 200_000;
export const rulesMax = 1000;

export const sourceCharsMax = 4096;
export const depthMax = 32;
export const literalItemsMax = 256;

/** Entries of one list or map of a request or token. */
export const itemsMax = 256;
/** Entries of token.authorization_details, and values in all of them: few, so that rules can look into each. */
export const detailsMax = 32;
export const detailsNodesMax = 512;
/** Characters of all scopes, roles or audiences of a token together. A token of 12 KiB has no room for more. */
export const tokenListCharsMax = 8192;
/** Nodes, nesting and characters of one JSON document. */
export const documentNodesMax = 2048;
export const documentDepthMax = 8;
export const documentCharsMax = 65_536;
/** Characters of the path with its query, and of all header fields together. */
export const requestCharsMax = 16_384;

/** Text that `matches` looks at. Longer text is an evaluation error, and so a deny. */
export const matchCharsMax = 2048;
export const patternCharsMax = 512;
/** States of the automaton of one pattern, and steps between them, all of which are built at load. */
export const automatonStatesMax = 512;
export const automatonStepsMax = 16_384;
/** Parts that `split` gives. More is an evaluation error. */
export const splitPartsMax = 256;
/** Characters of a number that `int`, `double` and `scopeLimit` read. */
export const numberCharsMax = 40;
