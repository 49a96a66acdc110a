/** The tables of a baseline. Of the memory that an agent takes they are most. */

import { type ActionTable, actionTableBytes, createActionTable } from './action-table.ts';
import { createFieldSketch, type FieldSketch, fieldSketchBytes } from './field-sketch.ts';
import { histogramCells } from './histogram.ts';
import { pairCells } from './pair-sketch.ts';

export const hourCount = 24;
/** Requests, sum and sum of squares of the rate's logarithm, an hour of the day. */
export const hourCells = 3 * hourCount;

/** Until something is learned, tables that all baselines share, and that stay empty: see openTables. */
export type Tables = {
  actions: ActionTable;
  pairs: Uint32Array;
  histograms: Uint32Array;
  hours: Uint32Array;
  fields: FieldSketch;
};

/**
 * They are made when the first batch is learned: most deltas hold none, and nor do agents that have hardly called. One
 * buffer holds all: a buffer of its own costs hundreds of bytes.
 */
function createTables(): Tables {
  const fieldsAt = actionTableBytes + 4 * (pairCells + histogramCells + hourCells);
  const memory = new ArrayBuffer(fieldsAt + fieldSketchBytes);
  let at = actionTableBytes;
  const cells = (length: number) => {
    const words = new Uint32Array(memory, at, length);
    at += words.byteLength;
    return words;
  };
  return {
    actions: createActionTable(memory),
    pairs: cells(pairCells),
    histograms: cells(histogramCells),
    hours: cells(hourCells),
    fields: createFieldSketch(memory, fieldsAt),
  };
}

export const emptyTables: Readonly<Tables> = createTables();

export function hasTables(tables: Tables): boolean {
  return tables.actions !== emptyTables.actions;
}

/** To be called before anything is written to the tables of a baseline. */
export function openTables(tables: Tables): void {
  if (!hasTables(tables)) setTables(tables, createTables());
}

/** Gives back tables that hold nothing. */
export function closeEmptyTables(tables: Tables): void {
  const isZero = (cell: number) => cell === 0;
  const { actions, pairs, histograms, hours, fields } = tables;
  if (!fields.named.every(isZero)) return;
  if (actions.used > 0 || !pairs.every(isZero) || !histograms.every(isZero) || !hours.every(isZero)) return;
  setTables(tables, emptyTables);
}

export function setTables(tables: Tables, { actions, pairs, histograms, hours, fields }: Readonly<Tables>): void {
  tables.actions = actions;
  tables.pairs = pairs;
  tables.histograms = histograms;
  tables.hours = hours;
  tables.fields = fields;
}
