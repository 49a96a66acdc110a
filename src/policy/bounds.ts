/**
 * The bounds that keep rules cheap whatever they are asked about.
 *
 * A cost unit is about 50 ns of work: one visited node of an expression. The cost of an expression is its worst case
 * over every request that the bounds below let through, so a rule set that loads is a rule set that can't be made slow.
 */

/** Units for one expression, about 10 ms. A loop over a value of a request fits, such a loop in another does not. */
export const expressionCostMax = 200_000;
/** Units for all rules together, about 50 ms. */
export const ruleSetCostMax = 1_000_000;
export const rulesMax = 1000;

export const sourceCharsMax = 4096;
export const depthMax = 32;
export const literalItemsMax = 256;

/** Entries of one list or map of a request or token. */
export const itemsMax = 256;
/** Entries of token.authorization_details: few, so that rules can afford to look into each. */
export const detailsMax = 32;
/** Nodes, nesting and characters of one JSON document. */
export const documentNodesMax = 2048;
export const documentDepthMax = 8;
export const documentCharsMax = 65_536;
/** Characters of one string, for the cost: the listener's limits are what really bounds fields and targets. */
export const stringCharsNominal = 8192;

/** Text that `matches` looks at. Longer text is an evaluation error, and so a deny. */
export const matchCharsMax = 2048;
export const patternCharsMax = 512;
/** Parts that `split` gives. More is an evaluation error. */
export const splitPartsMax = 256;
/** Characters of a number that `int`, `double` and `scopeLimit` read. */
export const numberCharsMax = 40;
