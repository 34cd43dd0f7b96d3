--[[
  copy_clock: copy the fleet's record of jumps to a volume, where its scripts read it.

  KEYS[1]  meta       hash  clock_seq, jumped_ms, slack_ms
  ARGV[1]  seq        int   the number of the change, above zero
  ARGV[2]  jumped_ms  int   as in change_clock
  ARGV[3]  slack_ms   int

  Returns  1, or 0 if the volume has this change or a later one
  Atomic   one key.
  Cost     O(1); removes before it adds.
]]
local change = tonumber(seq)
if not (change and tonumber(jumped_ms) and tonumber(slack_ms)) then
  return redis.error_reply('ERR a change of the clock takes numbers')
end
if tonumber(redis.call('HGET', meta, 'clock_seq') or 0) >= change then
  return 0
end
redis.call('HDEL', meta, 'clock_seq')
redis.call('HSET', meta, 'clock_seq', seq, 'jumped_ms', jumped_ms, 'slack_ms', slack_ms)
return 1
