--[[
  change_clock: record that Redis's clock jumped, or that a person accepted a jump; once, whoever notices it first.

  KEYS[1]  clock      hash  seq, jumped_ms, slack_ms
  ARGV[1]  seq        int   the change that the caller has seen; 0 if there was none
  ARGV[2]  jumped_ms  int   the sum of all jumps, with this one
  ARGV[3]  slack_ms   int   how much of it delays deadlines

  Returns  1, or 0 if somebody else made a change since: nothing changed
  Atomic   one key.
  Cost     O(1); removes before it adds, so that a jump is recorded while Redis is full.
]]
local before, jumped, slack = tonumber(seq), tonumber(jumped_ms), tonumber(slack_ms)
if not (before and jumped and slack and slack >= 0) then
  return redis.error_reply('ERR a change of the clock takes numbers')
end
if tonumber(redis.call('HGET', clock, 'seq') or 0) ~= before then
  return 0
end
redis.call('HDEL', clock, 'seq')
redis.call('HSET', clock, 'seq', before + 1, 'jumped_ms', jumped_ms, 'slack_ms', slack_ms)
return 1
