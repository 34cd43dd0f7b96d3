--[[
  claim: pop records into a lease: those that are due, or those that are named.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   records   hash  path -> record
  KEYS[5]   retries   hash  path -> failed attempts
  KEYS[6]   stats     hash  totals
  KEYS[7]   meta      hash  last token
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   lease_ms  int   above zero
  ARGV[3]   limit     int   1..1000
  ARGV[4]   until_ms  int   of the named, only those registered at or before it; '' takes what is due
  ARGV[5]   aside     int   1: of the named, also those in quarantine whose grace period is not over
  ARGV[6+]  files     1 each: path; none unless until_ms is given

  Returns  {token, now_ms, left, path, record, attempts, ...} left is how many are due beyond these;
           three for each claimed file, soonest deadline first; the token is '' when there are none.
           A record is '' when it is lost: such a file is claimed too, for somebody to bury it.
  Atomic   a path is in exactly one of registry / leases, before and after.
  Cost     O(limit * log N); never KEYS, never SCAN, never unbounded; removes before it adds.
]]
local registry, leases, claims, records = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local retries, stats, meta = KEYS[5], KEYS[6], KEYS[7]

local now, now_us = tonumber(ARGV[1]), nil
if now then
  now_us = now * 1000
else
  local time = redis.call('TIME')
  now, now_us = time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]
end
local lease, limit, before = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local aside = ARGV[5] == '1'
if not (lease and lease > 0 and limit and limit >= 1 and limit <= 1000) then
  return redis.error_reply('ERR a lease is above zero, a limit from 1 to 1000')
end

local now_text = string.format('%.0f', now)
local paths = {}
if before then
  for i = 6, math.min(#ARGV, 5 + limit) do
    local record = redis.call('HGET', records, ARGV[i])
    local registered, deadline, flags = string.match(record or '', '^1 (%d+) (%d+) %d+ %S+ (%S+)')
    local here = aside or not (flags and string.find(flags, 'q', 1, true)) or tonumber(deadline) <= now
    local wanted = not registered or (tonumber(registered) <= before and here)
    if wanted and redis.call('ZSCORE', registry, ARGV[i]) then
      paths[#paths + 1] = ARGV[i]
    end
  end
else
  paths = redis.call('ZRANGEBYSCORE', registry, '-inf', now_text, 'LIMIT', 0, limit)
end
if #paths == 0 then
  return {'', now_text, 0}
end

local token = math.max(tonumber(redis.call('HGET', meta, 'token') or 0) + 1, now_us)
local token_text = string.format('%.0f', token)
local found = redis.call('HMGET', records, unpack(paths))
local any_failed = redis.call('HLEN', retries) > 0
local attempts = any_failed and redis.call('HMGET', retries, unpack(paths)) or {}

local scored = {}
for i = 1, #paths do
  scored[2 * i - 1], scored[2 * i] = token_text, paths[i]
end
redis.call('ZREM', registry, unpack(paths))
for from = 1, #scored, 1000 do
  redis.call('ZADD', leases, unpack(scored, from, math.min(from + 999, #scored)))
end
redis.call('ZADD', claims, string.format('%.0f', now + lease), token_text)
redis.call('HSET', meta, 'token', token_text)
redis.call('HINCRBY', stats, 'claimed', #paths)

local left = before and 0 or redis.call('ZCOUNT', registry, '-inf', now_text)
local reply = {token_text, now_text, left}
for i = 1, #paths do
  local at = 3 * i + 1
  reply[at], reply[at + 1], reply[at + 2] = paths[i], found[i] or '', attempts[i] or '0'
end
return reply
