--[[
  release: ends keepers. A file is in held exactly while it has a keeper.

  Needs    held, keepers, kept, reasons, keepers_of
  Defines  end_keeper, leave_held
]]
-- Returns false if there is no such keeper.
local function end_keeper(keeper)
  local existed = redis.call('ZREM', keepers, keeper) == 1
  redis.call('ZREM', kept, keeper)
  redis.call('HDEL', reasons, keeper)
  return existed
end

-- Takes a file without keepers out of held. Returns false if it has keepers, or was not held.
local function leave_held(path)
  return #keepers_of(path) == 0 and redis.call('ZREM', held, path) == 1
end
