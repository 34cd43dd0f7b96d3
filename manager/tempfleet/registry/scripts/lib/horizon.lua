--[[
  horizon: up to when leases (steady), and deadlines and holds (horizon) have ended for this caller. The caller knows
  from its own clock how late it can be at most, so a jump of Redis's clock that nobody has recorded yet ends nothing.

  Needs    now, jumped, past, pause, latest_ms
  Defines  steady, horizon
]]
local steady = math.min(now - jumped, tonumber(latest_ms) or math.huge)
local horizon = pause and -1 or past - (now - jumped - steady)
