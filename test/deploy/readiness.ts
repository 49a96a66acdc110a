import { setTimeout as wait } from 'node:timers/promises';

/** Asks again and again as a kubelet does, within a deadline. */
export async function untilReady(url: string): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  for (;;) {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    const body = await response.text();
    if (response.status === 200) return;
    if (performance.now() > deadlineMs) throw new Error(`${url} still answers ${response.status}: ${body}`);
    await wait(20);
  }
}
