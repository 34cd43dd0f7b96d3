--[[
  swept: note that a sweep ended, for people; the oldest notes go.

  KEYS[1]  sweeps  zset  "<ms> <report>" -> ended at ms
  ARGV[1]  now_ms  int   '' for the server's clock
  ARGV[2]  keep    int   notes that stay, this one included
  ARGV[3]  report  str   JSON

  Returns  now_ms
  Atomic   one key.
  Cost     O(log keep); removes before it adds.
]]
local sweeps = KEYS[1]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local now_text = string.format('%.0f', now)
redis.call('ZREMRANGEBYRANK', sweeps, 0, -tonumber(ARGV[2]))
redis.call('ZADD', sweeps, now_text, now_text .. ' ' .. ARGV[3])
return now_text
