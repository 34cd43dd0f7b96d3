--[[
  record_sweep: record that a sweep ended, for people; removes the oldest reports.

  KEYS[1]  sweeps  zset  "<ms> <report>" -> ended at ms
  ARGV[1]  now_ms  int   '' for the server's clock
  ARGV[2]  keep    int   number of reports to keep, this one included
  ARGV[3]  report  str   JSON

  Returns  now_ms
  Atomic   one key.
  Cost     O(log keep); removes before it adds.
  Uses     number, clock
]]
local now_text = whole(now)
redis.call('ZREMRANGEBYRANK', sweeps, 0, -tonumber(keep))
-- reports from before Redis's clock stepped back
for _, later in ipairs(redis.call('ZRANGEBYSCORE', sweeps, '(' .. now_text, '+inf', 'LIMIT', 0, tonumber(keep))) do
  redis.call('ZREM', sweeps, later)
end
redis.call('ZADD', sweeps, now_text, now_text .. ' ' .. report)
return now_text
