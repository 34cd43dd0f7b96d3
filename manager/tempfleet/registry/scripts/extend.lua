--[[
  extend: give a claim more time.

  KEYS[1]  claims    zset  token -> lease deadline ms
  KEYS[2]  meta      hash  jumped_ms
  ARGV[1]  now_ms    int   '' for the server's clock
  ARGV[2]  token     int   of the claim
  ARGV[3]  lease_ms  int   from now on; above zero

  Returns  1, or 0 if the claim has expired or was settled. An expired claim is lost even if it was not reaped
           yet, because a large claim is reaped in parts.
  Atomic   one key.
  Cost     O(log claims)
  Uses     clock, jumped
]]
local lease = tonumber(lease_ms)
if not (lease and lease > 0) then
  return redis.error_reply('ERR a lease is above zero')
end
local steady = now - jumped
local ends = redis.call('ZSCORE', claims, token)
if not ends or tonumber(ends) <= steady then
  return 0
end
redis.call('ZREM', claims, token)
redis.call('ZADD', claims, steady + lease, token)
return 1
