import { afterEach, describe, expect, it } from 'vitest';
import { type Harness, startSidecar } from '../../support/sidecar.ts';

let harness: Harness | null = null;
afterEach(async () => {
  await harness?.close();
});

const warnings = ({ log }: Harness) =>
  log.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>).filter(({ lint }) => lint !== undefined);

describe('a sidecar that starts', () => {
  it('warns in its log of rules that are hardly meant', async () => {
    harness = await startSidecar({ rules: "rules:\n  - { id: everything, when: 'true', effect: allow }\n" });
    expect(warnings(harness)).toMatchObject([
      { level: 40, lint: 'open-write', rule: 'everything', file: expect.any(String), line: 2 },
    ]);
  });

  it('has nothing to say of rules that are', async () => {
    harness = await startSidecar({
      rules: `rules:\n  - { id: reads, when: 'request.method == "GET"', effect: allow }\n`,
    });
    expect(warnings(harness)).toEqual([]);
  });
});
