import { setTimeout as wait } from 'node:timers/promises';

const deadlineAfterMs = 15_000;

/** Asks again and again until it is so. Throws, with what was seen last, when it is not within a deadline. */
export async function until(isSo: () => Promise<boolean>, describe = () => 'it is still not so'): Promise<void> {
  const deadlineMs = performance.now() + deadlineAfterMs;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(describe());
    await wait(20);
  }
}

/** Asks again and again as a kubelet does, within a deadline. */
export async function untilReady(url: string): Promise<void> {
  let seen = '';
  const isReady = async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    seen = `${url} still answers ${response.status}: ${await response.text()}`;
    return response.status === 200;
  };
  await until(isReady, () => seen);
}
