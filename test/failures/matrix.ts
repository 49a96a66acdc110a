/**
 * One row of the failure matrix: the README says what happens, and this breaks the real thing and looks. Each cell is
 * a test, and what it expects is held against the words of the README too, so that neither can say more than the other.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Reason } from '../../src/decision.ts';
import type { Answer, Harness } from '../support/sidecar.ts';

export const waitMs = 15_000;

export type Failure = {
  readonly harness: Harness;
  /** A call as it would be in health; the usual one where it is left out. */
  readonly call?: () => Promise<Answer>;
  /** Puts right what was broken; left out where a restart of Postern is what it takes. */
  readonly mend?: () => Promise<unknown>;
  /** What holds after that, besides that calls pass. */
  readonly afterwards?: () => Promise<void>;
  readonly close?: () => Promise<unknown>;
};

export type Expected = {
  /** What a call is refused with; null where it passes. */
  readonly calls: Reason | null;
  /** Whether a revocation takes effect on the next call, or is answered with 503. */
  readonly revocation: 'takes effect' | '503';
  /** The checks that fail. */
  readonly readiness: readonly string[];
  /** Each with what its value must fulfil; undefined where there is no such series. */
  readonly metrics: Readonly<Record<string, (value: number | undefined) => boolean>>;
};

export type MatrixRow = Readonly<Record<'what fails' | 'calls' | 'revocation' | 'readiness' | 'metrics', string>>;

/** The rows of the README's table. */
export function readMatrix(): readonly MatrixRow[] {
  const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
  const lines = readme.split('\n');
  const cellsOf = (line: string) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const start = lines.findIndex((line) => /^\| what fails +\|.*\| revocation +\|/.test(line));
  const names = cellsOf(lines[start] ?? '');
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'));
  return lines
    .slice(start + 2, end)
    .map((line) => Object.fromEntries(cellsOf(line).map((cell, index) => [names[index] ?? '', cell])) as MatrixRow);
}

const codesIn = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);

/** `reason` picks the refusals counted under it: the one metric that every refusal moves. */
export const refusals = (reason: Reason) => `postern_requests_total{reason="${reason}"}`;

export function failure(name: string, expected: Expected, breakIt: () => Promise<Failure>): void {
  describe(name, () => {
    let broken: Failure;
    const row = readMatrix().find((one) => one['what fails'] === name);
    const call = () => broken.call?.() ?? broken.harness.call('/api/x');
    beforeAll(async () => {
      broken = await breakIt();
    }, 30_000);
    afterAll(async () => {
      // Where breaking it has failed already, there is nothing to close, and that failure is the one to read.
      await broken?.harness.close();
      await broken?.close?.();
    });

    it('calls', async () => {
      const { harness } = broken;
      const before = harness.upstream.requests.length;
      await vi.waitFor(async () => expect((await call()).reason).toBe(expected.calls), waitMs);
      const isAsked = expected.calls === null || expected.calls.startsWith('upstream_');
      if (!isAsked) expect(harness.upstream.requests).toHaveLength(before);
      const cell = row?.calls ?? '';
      if (expected.calls === null) expect(cell).toMatch(/^Pass/);
      else expect(codesIn(cell)).toContain(expected.calls);
    });

    it('revocation', async () => {
      const agent = `agent-of-${name.replace(/[^a-z]+/gi, '-')}`;
      const answer = await broken.harness.admin('POST', '/v1/revocations', { agent, reason: 'test' });
      if (expected.revocation === '503') {
        expect(answer.status).toBe(503);
        expect(row?.revocation).toMatch(/^503/);
        return;
      }
      expect(answer.status).toBe(201);
      expect(row?.revocation).toMatch(/^Takes effect/);
      // Unless something comes before it, a call of that agent is now refused for this.
      if (expected.calls !== null && !expected.calls.startsWith('upstream_')) return;
      const token = broken.harness.mint({ claims: { client_id: agent } });
      expect((await broken.harness.call('/api/x', { token })).reason).toBe('token_revoked');
    });

    it('readiness', async () => {
      const { status, text } = await broken.harness.admin('GET', '/readyz');
      const checks = Object.entries((JSON.parse(text) as { checks: Record<string, { ok: boolean }> }).checks);
      const failing = checks.filter(([, { ok }]) => !ok).map(([check]) => check);
      // Without the store the mirror grows old as well, sooner or later.
      const known = expected.readiness.includes('store') ? failing.filter((check) => check !== 'revocations') : failing;
      expect(known).toEqual(expected.readiness);
      expect(status).toBe(failing.length === 0 ? 200 : 503);
      expect(row?.readiness).toMatch(failing.length === 0 ? /^Stays/ : /^Fails/);
      expect(codesIn(row?.readiness ?? '')).toEqual(expected.readiness);
    });

    it('metrics', async () => {
      expect(codesIn(row?.metrics ?? '').toSorted()).toEqual(Object.keys(expected.metrics).toSorted());
      await vi.waitFor(async () => {
        const { text } = await broken.harness.admin('GET', '/metrics');
        for (const [metric, holds] of Object.entries(expected.metrics)) {
          const value = valueIn(text, metric);
          expect(holds(value), `${metric} is ${value}`).toBe(true);
        }
      }, waitMs);
    });

    it('comes back', async () => {
      if (broken.mend === undefined) return expect(row?.calls).not.toMatch(/comes back/i);
      await broken.mend();
      await vi.waitFor(async () => expect((await call()).reason).toBeNull(), waitMs);
      await vi.waitFor(async () => expect((await broken.harness.admin('GET', '/readyz')).status).toBe(200), waitMs);
      await broken.afterwards?.();
    });
  });
}

/** The sum of the series of `metric`, which may name one label; undefined where there is none. */
function valueIn(exposition: string, metric: string): number | undefined {
  const [name = '', label = ''] = metric.replace('}', '').split('{');
  const series = exposition.split('\n').filter((line) => /^[^ {]+/.exec(line)?.[0] === name && line.includes(label));
  return series.length === 0 ? undefined : series.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
