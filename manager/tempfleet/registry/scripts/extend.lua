--[[
  extend: give a claim more time.

  KEYS[1]  claims    zset  token -> lease deadline ms
  ARGV[1]  now_ms    int   '' for the server's clock
  ARGV[2]  token     int   the claim's
  ARGV[3]  lease_ms  int   from now on; above zero

  Returns  1, or 0 when the claim ran out or was settled: it is not the caller's any more, reaped or not,
           for a reaper takes large claims back in parts
  Atomic   one key.
  Cost     O(log claims)
]]
local claims = KEYS[1]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local lease = tonumber(ARGV[3])
if not (lease and lease > 0) then
  return redis.error_reply('ERR a lease is above zero')
end
local ends = redis.call('ZSCORE', claims, ARGV[2])
if not ends or tonumber(ends) <= now then
  return 0
end
redis.call('ZREM', claims, ARGV[2])
redis.call('ZADD', claims, string.format('%.0f', now + lease), ARGV[2])
return 1
