/** A moment that may be weeks away. */

/** The longest that a timer of Node can wait; a longer one would fire at once. */
const timerMsMax = 2_147_483_647;

/** Calls `act` once when so much time has passed. Gives what calls it off. Keeps no process alive. */
export function callAfter(waitMs: number, act: () => void): () => void {
  let leftMs = Math.max(0, waitMs);
  let timer: NodeJS.Timeout;
  const wait = () => {
    const stepMs = Math.min(leftMs, timerMsMax);
    leftMs -= stepMs;
    timer = setTimeout(leftMs > 0 ? wait : act, stepMs).unref();
  };
  wait();
  return () => clearTimeout(timer);
}
