/**
 * The Lua scripts, and where they keep what.
 *
 * Schema 1. Every key begins with the configured prefix; `{v1}` is the version and, being a cluster hash tag, keeps all
 * keys of one script call on one node.
 *
 *   {v1}:revoked:*           the revocation set and the feed of its changes; see revocation-scripts.ts
 *   {v1}:proof:<key>         string, expires: a proof that was used
 *   {v1}:agents, {v1}:agent:…  agents that have called; see redis-agents.ts
 *   {v1}:drift:<name>        how agents behave; see redis-drift.ts
 *   {v1}:meter:<windowMs>:<key>  hash, expires: bucket index -> count; see meters.ts. A changed window starts anew.
 *
 * Times of revocations and meters are the sidecar's. A proof's lifetime alone is relative (PX, not PXAT): whether a
 * proof is acceptable is judged by the sidecar's clock, and what must hold is that it stays used for that long from
 * now, however far the clock of Redis is off.
 */

import type { ClientContext, Result } from 'ioredis';
import { countMax } from './meters.ts';
import { type RevokedKeys, revokedKeys } from './revocation-scripts.ts';

declare module 'ioredis' {
  /** Takes the number of its keys, its keys and its arguments, in one flat list. */
  interface RedisCommander<Context extends ClientContext> {
    posternCheck(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
  }
}

export type Keys = {
  readonly revoked: RevokedKeys;
  readonly proofPrefix: string;
  readonly meterPrefix: string;
  /** Never there: what would be written shows whether writes are taken. */
  readonly probe: string;
};

export function keysUnder(prefix: string): Keys {
  const root = `${prefix}{v1}:`;
  return {
    revoked: revokedKeys(`${root}revoked:`),
    proofPrefix: `${root}proof:`,
    meterPrefix: `${root}meter:`,
    probe: `${root}probe`,
  };
}

/**
 * A store that was emptied no longer knows which proofs were used, nor, until every sidecar has given back what it knows,
 * what is revoked. So requests made until so long after it was noticed are refused: sidecars are back within two seconds,
 * and by as much may an agent's clock, by which its proofs are dated, be ahead.
 */
const calmMs = 10_000;

/**
 * Answers a batch of requests, one after another, so of two with the same proof in one batch the first wins.
 *
 * Numbers and handles travel as JSON arrays: to the client that costs half of what one argument each does.
 *
 * KEYS  revoked:handles; revoked:meta; then, a request at a time, the proof's key where it has one and the key of each
 *       meter.
 * ARGV  numbers; the generation of the revocation set that is relied on, or nothing for any; generation, sequence and head
 *       of the set that the handles were looked up in already, or nothing; the handles of all requests as a JSON array,
 *       which nobody reads where that is what the set still is. Numbers are, a request at a time: now, when the token was
 *       issued, number of handles, when the request was made, lifetime of the proof (0 without one), number of meters, and for
 *       each meter window, width and cost.
 * Reply `lost` where the set is of another generation. Else numbers, a request at a time: index of the revoked handle or
 *       -1; 0, 1 for a replay, or 2 where that can't be told; then, only for -1 and 0, count and milliseconds until it
 *       falls for each meter. Lua writes 14 digits of each exactly.
 */
export const checkScript = `
local call = redis.call

local function count(key, now, window, width, cost)
  local oldest = math.floor((now - window + 1) / width)
  local current = math.floor(now / width)
  local sum, first, here = 0, nil, 0
  local stale
  local flat = call('HGETALL', key)
  for i = 1, #flat, 2 do
    local index, value = tonumber(flat[i]), tonumber(flat[i + 1])
    if index < oldest then
      stale = stale or {}
      stale[#stale + 1] = flat[i]
    else
      if index == current then here = value else sum = sum + value end
      if not first or index < first then first = index end
    end
  end
  if cost > 0 then
    if here == 0 and (not first or current < first) then first = current end
    call('HSET', key, string.format('%.0f', current), string.format('%.0f', here + cost))
    if here == 0 then
      if stale then call('HDEL', key, unpack(stale)) end
      call('PEXPIRE', key, string.format('%.0f', window + 2 * width))
    end
    here = here + cost
  end
  sum = sum + here
  if sum == 0 then return 0, 0 end
  if sum > ${countMax} then sum = ${countMax} end
  return sum, (first + 1) * width + window - 1 - now
end

local function covers(entries, now, issued)
  for before, expires in string.gmatch(entries, '(%d+):(%d+):%S+') do
    if tonumber(expires) > now and issued < tonumber(before) then return true end
  end
  return false
end

local generation, emptied, sequence, head = unpack(call('HMGET', KEYS[2], 'generation', 'emptied', 'sequence', 'head'))
if ARGV[2] ~= '' and generation ~= ARGV[2] then return 'lost' end
local calm = emptied and tonumber(emptied) + ${calmMs} or 0

local numbers = cjson.decode(ARGV[1])
local found
if ARGV[4] ~= '[]' and not (generation and ARGV[3] == generation .. ':' .. sequence .. ':' .. head) then
  found = call('HMGET', KEYS[1], unpack(cjson.decode(ARGV[4])))
end

local answers, n = {}, 0
local handle, k, a, last = 0, 3, 1, #numbers
while a <= last do
  local now, issued, handles, made, lifetime, meters = unpack(numbers, a, a + 5)
  a = a + 6

  local revoked = -1
  for i = 1, found and handles or 0 do
    local entries = found[handle + i]
    if entries and covers(entries, now, issued) then
      revoked = i - 1
      break
    end
  end
  handle = handle + handles

  local replay = 0
  if revoked < 0 and made < calm then replay = 2 end
  if lifetime > 0 then
    if revoked < 0 and replay == 0 and not call('SET', KEYS[k], '1', 'NX', 'PX', lifetime) then replay = 1 end
    k = k + 1
  end

  answers[n + 1], answers[n + 2] = revoked, replay
  n = n + 2
  local counted = revoked < 0 and replay == 0
  for _ = 1, meters do
    if counted then
      answers[n + 1], answers[n + 2] =
        count(KEYS[k], now, numbers[a], numbers[a + 1], numbers[a + 2])
      n = n + 2
    end
    k, a = k + 1, a + 3
  end
end
return '[' .. table.concat(answers, ',') .. ']'
`;
