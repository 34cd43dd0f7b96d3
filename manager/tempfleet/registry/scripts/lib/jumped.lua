--[[
  jumped: the sum of all jumps of Redis's clock. Leases are times of the clock without them, so a jump neither ends a
  lease early nor prolongs it; slack does not concern them.

  Needs    meta
  Defines  jumped
]]
local jumped = tonumber(redis.call('HGET', meta, 'jumped_ms') or 0)
