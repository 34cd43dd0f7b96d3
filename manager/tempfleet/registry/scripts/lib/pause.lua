--[[
  pause: while it lasts, no deadline passes. The field is "<from ms> <until ms> <reason>", in times of Redis's clock
  without its jumps: a jump neither ends a pause nor prolongs it.

  Needs    meta, now, jumped
  Defines  pause, pause_from, pause_until, pause_reason
]]
-- The reason, nil if there is no pause now.
local pause
local pause_from, pause_until, pause_reason =
  string.match(redis.call('HGET', meta, 'pause') or '', '^(%d+) (%d+) (%S+)')
if pause_from and now - jumped >= tonumber(pause_from) and now - jumped < tonumber(pause_until) then
  pause = pause_reason
end
