--[[
  heartbeat: a worker of a host is alive.

  KEYS[1]  hosts   zset  host -> last heartbeat ms
  ARGV[1]  now_ms  int   '' for the server's clock
  ARGV[2]  host    str

  Returns  now_ms
  Atomic   one key.
  Cost     O(log hosts); removes before it adds, so a host stays live while Redis is full.
]]
local hosts = KEYS[1]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local now_text = string.format('%.0f', now)
redis.call('ZREM', hosts, ARGV[2])
redis.call('ZADD', hosts, now_text, ARGV[2])
return now_text
