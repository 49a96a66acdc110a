/**
 * The Lua scripts, and where they keep what.
 *
 * Schema 1. Every key begins with the configured prefix; `{v1}` is the version and, being a cluster hash tag, keeps all
 * keys of one script call on one node.
 *
 *   {v1}:revocations         sorted set: handle -> time in ms from which it may be forgotten, or +inf
 *   {v1}:revocation:entries  hash: handle -> the entry as JSON
 *   {v1}:revocation:ids      hash: entry id -> handle
 *   {v1}:proof:<key>         string, expires: a proof that was used
 *   {v1}:meter:<windowMs>:<key>  hash, expires: bucket index -> count; see meters.ts. A changed window starts anew.
 *
 * Times of revocations and meters are the sidecar's. A proof's lifetime alone is relative (PX, not PXAT): whether a
 * proof is acceptable is judged by the sidecar's clock, and what must hold is that it stays used for that long from
 * now, however far the clock of Redis is off.
 */

import type { ClientContext, Result } from 'ioredis';
import { countMax } from './meters.ts';

declare module 'ioredis' {
  /** Each takes the number of its keys, its keys and its arguments, in one flat list. */
  interface RedisCommander<Context extends ClientContext> {
    posternCheck(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
    posternRevoke(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
    posternLift(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
  }
}

export type Keys = {
  readonly revocations: string;
  readonly entries: string;
  readonly ids: string;
  readonly proofPrefix: string;
  readonly meterPrefix: string;
};

export function keysUnder(prefix: string): Keys {
  const root = `${prefix}{v1}:`;
  return {
    revocations: `${root}revocations`,
    entries: `${root}revocation:entries`,
    ids: `${root}revocation:ids`,
    proofPrefix: `${root}proof:`,
    meterPrefix: `${root}meter:`,
  };
}

/**
 * Answers a batch of requests, one after another, so of two with the same proof in one batch the first wins.
 *
 * Numbers travel as one JSON array each way: to the client that costs half of what one argument a number does.
 *
 * KEYS  revocations; then, a request at a time, the proof's key where it has one and the key of each meter.
 * ARGV  numbers; then the handles of all requests. Numbers are, a request at a time: now, number of handles, lifetime
 *       of the proof (0 without one), number of meters, and for each meter window, width and cost.
 * Reply numbers, a request at a time: index of the revoked handle or -1, 1 for a replay or 0, then, only when neither
 *       is the case, count and milliseconds until it falls for each meter. Lua writes 14 digits of each exactly.
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

local numbers = cjson.decode(ARGV[1])
local scores = {}
if #ARGV > 1 then scores = call('ZMSCORE', KEYS[1], unpack(ARGV, 2)) end

local answers, n = {}, 0
local handle, k, a, last = 0, 2, 1, #numbers
while a <= last do
  local now, handles, lifetime, meters = numbers[a], numbers[a + 1], numbers[a + 2], numbers[a + 3]
  a = a + 4

  local revoked = -1
  for i = 1, handles do
    local score = scores[handle + i]
    if score and (score == 'inf' or tonumber(score) > now) then
      revoked = i - 1
      break
    end
  end
  handle = handle + handles

  local replay = 0
  if lifetime > 0 then
    if revoked < 0 and not call('SET', KEYS[k], '1', 'NX', 'PX', lifetime) then replay = 1 end
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

/** An entry is forgotten this long after its time, so that one sidecar whose clock runs ahead forgets for nobody. */
const graceMs = 3_600_000;

/**
 * KEYS  revocations, entries, ids
 * ARGV  now, handle, id, entry, forget-at or +inf, most entries
 * Reply 1, or 0 where the set is full.
 */
export const revokeScript = `
local call = redis.call

local function forget(handle)
  local entry = call('HGET', KEYS[2], handle)
  if entry then call('HDEL', KEYS[3], cjson.decode(entry).id) end
  call('HDEL', KEYS[2], handle)
  call('ZREM', KEYS[1], handle)
end

local before = string.format('%.0f', tonumber(ARGV[1]) - ${graceMs})
for _, stale in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, 1000)) do forget(stale) end

local isKnown = call('ZSCORE', KEYS[1], ARGV[2])
if not isKnown and call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) then return 0 end
if isKnown then forget(ARGV[2]) end
call('ZADD', KEYS[1], ARGV[5], ARGV[2])
call('HSET', KEYS[2], ARGV[2], ARGV[4])
call('HSET', KEYS[3], ARGV[3], ARGV[2])
return 1
`;

/**
 * KEYS  revocations, entries, ids
 * ARGV  id
 * Reply the entry that was lifted, or nil.
 */
export const liftScript = `
local call = redis.call
local handle = call('HGET', KEYS[3], ARGV[1])
if not handle then return false end
local entry = call('HGET', KEYS[2], handle)
call('HDEL', KEYS[3], ARGV[1])
call('HDEL', KEYS[2], handle)
call('ZREM', KEYS[1], handle)
return entry
`;
