/** What a report says of the records that it is made from: how many, from when to when, by how many rule sets. */

export type RecordSpan = {
  readonly decisions: number;
  readonly from: string | null;
  readonly to: string | null;
  /** How many different rule sets decided. */
  readonly policies: number;
};

type Recorded = { readonly time: string; readonly policy: string | null };

const policiesMax = 1000;

export function createRecordSpan(): { readonly add: (record: Recorded) => void; readonly span: () => RecordSpan } {
  const policies = new Set<string>();
  let decisions = 0;
  let from: string | null = null;
  let to: string | null = null;
  return {
    add({ time, policy }) {
      decisions++;
      if (from === null || time < from) from = time;
      if (to === null || time > to) to = time;
      if (policy !== null && policies.size < policiesMax) policies.add(policy);
    },
    span: () => ({ decisions, from, to, policies: policies.size }),
  };
}
