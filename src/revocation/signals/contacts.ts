/** When each transmitter was last heard of: what tells a quiet stream from a dead one. */

export type Contacts = {
  /** The transmitter has proved to be itself, by pushing or by answering. */
  readonly contacted: (name: string) => void;
  /** A verification event has come (SSF §8.1.4). */
  readonly verified: (name: string) => void;
  /** Milliseconds since then, or since the start where there was none yet. */
  readonly contactAgesMs: () => readonly (readonly [string, number])[];
  readonly verificationAgesMs: () => readonly (readonly [string, number])[];
};

export function createContacts(names: readonly string[], clock: () => number): Contacts {
  const startedAtMs = clock();
  const contacts = new Map(names.map((name) => [name, startedAtMs]));
  const verifications = new Map(contacts);
  const ages = (times: ReadonlyMap<string, number>) =>
    [...times].map(([name, atMs]) => [name, clock() - atMs] as const);
  return {
    contacted: (name) => void contacts.set(name, clock()),
    verified: (name) => void verifications.set(name, clock()),
    contactAgesMs: () => ages(contacts),
    verificationAgesMs: () => ages(verifications),
  };
}
