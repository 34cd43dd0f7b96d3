--[[
  successor: a file that was registered under the name of a claimed file, and that waits for the end of the claim.

  Needs    registry, records, next, parse, add, count, forget_failures
  Defines  any_next, succeed
]]
-- Most volumes have no waiting files. Then no file costs a call.
local any_next = redis.call('HLEN', next) > 0

-- Lets the file that waits behind *path* enter the registry, in the place of the record at *path*, if any.
-- Returns false if no file waits.
local function succeed(path)
  local waiting = any_next and redis.call('HGET', next, path)
  if not waiting then
    return false
  end
  local _, _, old_size, _, old_flags, _, old_tail = parse(redis.call('HGET', records, path))
  count(-1, old_size, old_flags, old_tail)
  local _, deadline, size = parse(waiting)
  redis.call('HDEL', next, path)
  redis.call('HSET', records, path, waiting)
  redis.call('ZADD', registry, deadline, path)
  forget_failures(path)
  -- its tags count since it was registered
  add('registered', 1)
  add('registered_bytes', size)
  add('bytes', size)
  add('behind_bytes', -size)
  return true
end
