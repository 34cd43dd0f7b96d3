--[[
  begun: whether a file is being deleted, or its deletion has begun and was interrupted (flag b, see begin.lua).

  Needs    leases
  Defines  is_being_deleted
]]
-- Reads the flags by a pattern. Parsing all fields costs three times as much.
local function is_being_deleted(path, record)
  return redis.call('ZSCORE', leases, path) or string.match(record, '^%d+ %d+ %d+ %d+ %S+ [^b ]*b') ~= nil
end
