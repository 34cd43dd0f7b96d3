--[[
  expect_sweeps: record since when a worker has been live without a sweep, so that a missing beat is noticed.

  KEYS[1]  sweeps  zset  "<ms> <report>" -> ended at ms; the report of this mark is empty
  ARGV[1]  now_ms  int   '' for the server's clock

  Returns  nothing
  Atomic   one key.
  Cost     O(1). Adds one entry, and only to an empty key.
  Uses     number, clock
]]
if redis.call('ZCARD', sweeps) == 0 then
  local now_text = whole(now)
  redis.call('ZADD', sweeps, now_text, now_text .. ' ')
end
return nil
