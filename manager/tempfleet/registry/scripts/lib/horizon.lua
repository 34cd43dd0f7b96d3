--[[
  horizon: up to when leases (steady), and deadlines and holds (horizon) have ended for this caller. The caller knows
  from its own clock how late it can be at most (latest_ms). If Redis's clock is later, it jumped, and the time that the
  caller expects (expected_ms) counts. So a jump that nobody has recorded yet ends nothing.

  Needs    now, jumped, past, pause, latest_ms, expected_ms
  Defines  steady, horizon
]]
local steady = now - jumped
if steady > (tonumber(latest_ms) or math.huge) then
  steady = tonumber(expected_ms)
end
local horizon = pause and -1 or past - (now - jumped - steady)
