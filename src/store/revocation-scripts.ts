/**
 * The Lua scripts of the revocation set, and where they keep what. All keys are in one hash slot; see scripts.ts.
 *
 *   revoked:meta      hash: generation, sequence, head, count; emptied, when a sidecar
 *                     that knew another generation first met this one, where one did
 *   revoked:handles   hash: handle -> its entries, each `<issued before>:<expires>:<id>`, separated by spaces. What a
 *                     check looks at. 9007199254740991 stands for all tokens, and for never.
 *   revoked:entries   hash: id -> the entry as JSON
 *   revoked:order     sorted set, all scores 0: `<created at, 16 digits>:<id>`, for listings
 *   revoked:expiries  sorted set: id -> when it expires, where it does
 *   revoked:lifted    sorted set: id -> when it was lifted or replaced, so that no sidecar that missed it brings it back
 *   revoked:feed      stream, id `<sequence>-0`: what each change removed and added
 *
 * Sidecars follow the feed. The generation is a random name, made with the set; head names the last change. A store that
 * was emptied has another generation, one that lags behind another head at the same sequence, and one that evicts keys
 * another count, so whoever follows can tell.
 */

import type { ClientContext, Result } from 'ioredis';
import { endOfTime, entriesOfHandleMax } from './revocation-set.ts';

declare module 'ioredis' {
  /** Each takes the number of its keys, its keys and its arguments, in one flat list. */
  interface RedisCommander<Context extends ClientContext> {
    posternRevoke(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
    posternLift(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
    posternChanges(keysAndArguments: readonly (string | number)[]): Result<unknown, Context>;
  }
}

/** In the order in which the scripts take them. */
const keyNames = ['meta', 'handles', 'entries', 'order', 'expiries', 'lifted', 'feed'] as const;

export type RevokedKeys = Readonly<Record<'meta' | 'handles' | 'entries' | 'order', string>> & {
  /** Their number and the keys, as every script here takes them. */
  readonly all: readonly (string | number)[];
};

export function revokedKeys(root: string): RevokedKeys {
  const key = (name: (typeof keyNames)[number]) => `${root}${name}`;
  return {
    meta: key('meta'),
    handles: key('handles'),
    entries: key('entries'),
    order: key('order'),
    all: [keyNames.length, ...keyNames.map(key)],
  };
}

/** An entry is forgotten this long after its time, so that one sidecar whose clock runs ahead forgets for nobody. */
const graceMs = 3_600_000;
/** Changes that a sidecar may be behind before it has to copy the whole set. */
const feedMax = 10_000;
/** Longer than any sidecar that has lost its store is left to run, and never more than so many. */
const liftedMs = 7 * 86_400_000;
const liftedMax = 100_000;
/** Changes given at once. */
const changesMax = 1000;

const common = `
local call = redis.call
local meta, handles, entries, order, expiries, lifted, feed = unpack(KEYS)

local function whole(number) return string.format('%.0f', number) end

local function ensure(generation)
  if call('HSETNX', meta, 'generation', generation) == 0 then return end
  call('DEL', feed)
  call('HSET', meta, 'sequence', '0', 'head', '', 'count', call('HLEN', entries))
end

local function tell(head, removed, added)
  local sequence = whole(call('HINCRBY', meta, 'sequence', 1))
  call('HSET', meta, 'head', head)
  call('XADD', feed, 'MAXLEN', '~', '${feedMax}', sequence .. '-0',
    'head', head, 'removed', table.concat(removed, ' '), 'added', added)
end

local function forget(id)
  local json = call('HGET', entries, id)
  if not json then return false end
  local entry = cjson.decode(json)
  local kept = {}
  for item, other in string.gmatch(call('HGET', handles, entry.handle) or '', '(%d+:%d+:(%S+))') do
    if other ~= id then kept[#kept + 1] = item end
  end
  if #kept == 0 then call('HDEL', handles, entry.handle)
  else call('HSET', handles, entry.handle, table.concat(kept, ' ')) end
  call('HDEL', entries, id)
  call('ZREM', order, string.format('%016.0f', entry.createdAtMs) .. ':' .. id)
  call('ZREM', expiries, id)
  return json
end

local function settle(now)
  call('HSET', meta, 'count', call('HLEN', entries))
  call('ZREMRANGEBYSCORE', lifted, '-inf', whole(now - ${liftedMs}))
  call('ZREMRANGEBYRANK', lifted, 0, -${liftedMax} - 1)
end
`;

/**
 * ARGV  now, most entries, a generation for a set that has none, 1 to restore or 0 to revoke, number of lifted ids; the
 *       lifted ids; then for each entry id, handle, issued before, expires, its place in the order, and its JSON.
 * Reply ids of the entries that were not taken.
 */
export const revokeScript = `${common}
local now, most, restoring = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4] == '1'

local function author_of(json) return json and cjson.decode(json).author end

local function put(id, handle, before, expires, place, json)
  if restoring and call('ZSCORE', lifted, id) then return false end
  local wanted, until_ = tonumber(before), tonumber(expires)
  local kept, removed, known = {}, {}, false
  for item, b, e, other in string.gmatch(call('HGET', handles, handle) or '', '((%d+):(%d+):(%S+))') do
    b, e = tonumber(b), tonumber(e)
    -- See covers in revocation-set.ts.
    local is_like = other ~= id and (b == ${endOfTime}) == (wanted == ${endOfTime})
      and author_of(call('HGET', entries, other)) == author_of(json)
    if other == id then known = true
    elseif is_like and restoring and b >= wanted and e >= until_ then return false
    elseif is_like and wanted >= b and until_ >= e then removed[#removed + 1] = other
    else kept[#kept + 1] = item end
  end
  known = known and call('HEXISTS', entries, id) == 1
  if not restoring then
    if #kept >= ${entriesOfHandleMax} then return false end
    if not known and call('HLEN', entries) - #removed >= most then return false end
  end
  for _, other in ipairs(removed) do
    forget(other)
    call('ZADD', lifted, whole(now), other)
  end
  kept[#kept + 1] = before .. ':' .. expires .. ':' .. id
  call('HSET', handles, handle, table.concat(kept, ' '))
  call('HSET', entries, id, json)
  call('ZADD', order, 0, place)
  if until_ < ${endOfTime} then call('ZADD', expiries, expires, id) end
  if not (restoring and known) then tell(id, removed, json) end
  return true
end

ensure(ARGV[3])
for _, stale in ipairs(call('ZRANGEBYSCORE', expiries, '-inf', whole(now - ${graceMs}), 'LIMIT', 0, 200)) do
  if not forget(stale) then call('ZREM', expiries, stale) end
end
local first = 6 + tonumber(ARGV[5])
for i = 6, first - 1 do
  call('ZADD', lifted, 'NX', whole(now), ARGV[i])
  if forget(ARGV[i]) then tell('-' .. ARGV[i], { ARGV[i] }, '') end
end
local refused = {}
for i = first, #ARGV, 6 do
  if not put(unpack(ARGV, i, i + 5)) then refused[#refused + 1] = ARGV[i] end
end
settle(now)
return refused
`;

/**
 * ARGV  id, now, a generation for a set that has none
 * Reply the entry that was lifted, or nil.
 */
export const liftScript = `${common}
ensure(ARGV[3])
local json = forget(ARGV[1])
if not json then return false end
call('ZADD', lifted, ARGV[2], ARGV[1])
settle(tonumber(ARGV[2]))
tell('-' .. ARGV[1], { ARGV[1] }, '')
return json
`;

/**
 * ARGV  a generation for a set that has none; generation, sequence and head of where the caller is, or nothing; now
 * Reply outcome, generation, sequence, head, 1 if there is more; then for each change removed ids and the added entry.
 */
export const changesScript = `${common}
ensure(ARGV[1])
local generation, sequence, head, count = unpack(call('HMGET', meta, 'generation', 'sequence', 'head', 'count'))
local size = call('HLEN', entries)
local function answer(outcome) return { outcome, generation, sequence, head, 0 } end

if ARGV[2] == '' then return answer('gap') end
local known = tonumber(ARGV[3])
if generation ~= ARGV[2] then
  call('HSETNX', meta, 'emptied', ARGV[5])
  return answer('lost')
end
if size ~= tonumber(count) or size ~= call('ZCARD', order)
  or (size > 0) ~= (call('EXISTS', handles) == 1) or tonumber(sequence) < known then return answer('lost') end
if tonumber(sequence) == known then return answer(head == ARGV[4] and 'followed' or 'lost') end

local told = call('XRANGE', feed, known == 0 and '-' or ARGV[3] .. '-0', '+', 'COUNT', ${changesMax + 1})
local from = 1
if known > 0 then
  if not told[1] or told[1][1] ~= ARGV[3] .. '-0' then return answer('gap') end
  if told[1][2][2] ~= ARGV[4] then return answer('lost') end
  from = 2
elseif not told[1] or told[1][1] ~= '1-0' then return answer('gap') end

local reply = answer('followed')
for i = from, #told do
  local fields = told[i][2]
  reply[#reply + 1], reply[#reply + 2] = fields[4], fields[6]
end
local last = told[#told]
if last[1] ~= sequence .. '-0' then
  reply[3], reply[4], reply[5] = string.match(last[1], '^%d+'), last[2][2], 1
end
return reply
`;
