--[[
  extend: give a claim more time.

  KEYS[1]  claims    zset  token -> lease deadline ms
  ARGV[1]  now_ms    int   '' for the server's clock
  ARGV[2]  token     int   the claim's
  ARGV[3]  lease_ms  int   from now on; above zero

  Returns  1, or 0 when the claim was reaped or settled: it is not the caller's any more
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
if not redis.call('ZSCORE', claims, ARGV[2]) then
  return 0
end
redis.call('ZREM', claims, ARGV[2])
redis.call('ZADD', claims, string.format('%.0f', now + lease), ARGV[2])
return 1
