--[[
  horizon: up to when deadlines and holds have passed for this caller. The caller knows from its own clock how late it
  can be at most, so a jump of Redis's clock that nobody has recorded yet ends nothing early.

  Needs    meta, now, past, pause, latest_ms
  Defines  jumped, horizon
]]
local jumped = tonumber(redis.call('HGET', meta, 'jumped_ms') or 0)
local horizon = past - math.max(now - jumped - (tonumber(latest_ms) or math.huge), 0)
if pause then
  horizon = -1
end
