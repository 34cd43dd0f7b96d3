--[[
  slack: Redis's clock, less what it jumped ahead. Deadlines, retries and ends of holds are compared with it; ages and
  leases are not.

  Needs    meta, now
  Defines  slack, past
]]
local slack = tonumber(redis.call('HGET', meta, 'slack_ms') or 0)
-- a deadline at or before it has passed
local past = now - slack
