/** The narrated tour: what Postern promises, shown one call after another on the demo's parts, and checked. */

import type { DemoParts } from './parts.ts';
import { createTour, type Tour } from './tour-calls.ts';
import { type AuditLine, auditLines, evidenceSteps } from './tour-evidence.ts';
import type { Seen, TourStep } from './tour-step.ts';
import { callSteps } from './tour-steps.ts';

export type StepResult = {
  readonly number: number;
  readonly title: string;
  readonly expected: string;
  readonly seen: string;
  readonly isAsTold: boolean;
  readonly decisions: readonly { readonly id: string | null; readonly reason: string | null }[];
};

export type TourResult = {
  readonly isAsTold: boolean;
  readonly steps: readonly StepResult[];
  /** One audit line of each step that made calls: of its first denial, where there is one. */
  readonly audit: readonly AuditLine[];
};

/** Takes every step, even after one that is not as told, and reports each as soon as it is done. */
export async function runTour(parts: DemoParts, onStep: (result: StepResult) => void): Promise<TourResult> {
  const tour = createTour(parts);
  const steps: StepResult[] = [];
  for (const [index, step] of [...callSteps, ...evidenceSteps].entries()) {
    const result = await takeStep(tour, step, index + 1);
    steps.push(result);
    onStep(result);
  }
  const shown = steps.flatMap(({ decisions }) => {
    const denial = decisions.find(({ reason }) => reason !== null);
    return (denial ?? decisions.at(-1))?.id ?? [];
  });
  return { isAsTold: steps.every(({ isAsTold }) => isAsTold), steps, audit: await auditLines(tour, shown) };
}

async function takeStep(tour: Tour, { title, expected, run }: TourStep, number: number): Promise<StepResult> {
  const verdictsBefore = tour.verdicts.length;
  const callsBefore = tour.parts.api.count();
  const { seen, isAsTold } = await run(tour).catch(failed);
  const verdicts = tour.verdicts.slice(verdictsBefore);
  // Of every step: the API hears of a call exactly when Postern has allowed it.
  const reached = tour.parts.api.count() - callsBefore;
  const allowed = verdicts.filter(({ outcome }) => outcome === 'allowed' || outcome === 'failed').length;
  return {
    number,
    title,
    expected,
    seen: reached === allowed ? seen : `${seen}; the API was called ${reached} times, not ${allowed}`,
    isAsTold: isAsTold && reached === allowed,
    decisions: verdicts.map(({ decisionId, reason }) => ({ id: decisionId, reason })),
  };
}

/** A step that breaks down is not as told; the tour goes on. */
function failed(fault: unknown): Seen {
  return { seen: `failed: ${fault instanceof Error ? fault.message : String(fault)}`, isAsTold: false };
}
