/** What both adapters take for granted about a request. A breach is our own mistake, hence a TypeError, not a fault. */

import type { CheckRequest, RevocationEntry } from './port.ts';

/** More than any token within its size limit names. Keeps one script call short. */
const handlesMax = 1000;

/** Longer than any window in which a proof is accepted. */
const lifetimeMsMax = 31 * 86_400_000;

export function vetCheckRequest(request: CheckRequest): void {
  const { nowMs, handles, issuedAtMs, singleUse } = request;
  if (!Number.isSafeInteger(nowMs)) throw new TypeError('nowMs must be whole milliseconds');
  if (!Number.isFinite(issuedAtMs)) throw new TypeError('issuedAtMs must be a time');
  if (handles.length > handlesMax) throw new TypeError(`a request has ${handlesMax} handles at most`);
  if (singleUse !== null && !(singleUse.lifetimeMs > 0 && singleUse.lifetimeMs <= lifetimeMsMax)) {
    throw new TypeError('a proof must have a lifetime that is positive and 31 days at most');
  }
  if (singleUse !== null && !Number.isSafeInteger(singleUse.madeAtMs)) {
    throw new TypeError('a proof must be made at whole milliseconds');
  }
  for (const meter of request.meters) {
    if (!Number.isSafeInteger(meter.windowMs) || meter.windowMs <= 0) {
      throw new TypeError('a meter must have a positive whole window');
    }
    if (!Number.isSafeInteger(meter.cost) || meter.cost < 0) {
      throw new TypeError('a meter must have a cost that is whole and not negative');
    }
  }
}

/** Ids stand between separators, and times are compared as whole numbers. */
export function vetRevocation({ id, createdAtMs, expiresAtMs, issuedBeforeMs }: RevocationEntry): void {
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(id)) throw new TypeError('an id has letters, digits, dash and underscore only');
  for (const timeMs of [createdAtMs, expiresAtMs ?? 0, issuedBeforeMs ?? 0]) {
    if (!Number.isSafeInteger(timeMs) || timeMs < 0) throw new TypeError('a time of an entry is whole milliseconds');
  }
}
