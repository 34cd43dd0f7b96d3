--[[
  clock: the time of this call: the given one (tests), otherwise the server's.

  Needs    now_ms
  Defines  now, now_us
]]
local now, now_us = tonumber(now_ms), nil
if now then
  now_us = now * 1000
else
  local time = redis.call('TIME')
  now, now_us = time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]
end
