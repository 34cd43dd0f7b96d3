--[[
  pause: while it lasts, no deadline passes. The field is "<until ms> <reason>", its time is comparable with *past*.

  Needs    meta, past
  Defines  pause, pause_until, pause_reason
]]
-- The reason, nil if there is no pause.
local pause
local pause_until, pause_reason = string.match(redis.call('HGET', meta, 'pause') or '', '^(%d+) (%S+)')
if pause_until and past < tonumber(pause_until) then
  pause = pause_reason
end
