--[[
  former: traces of unregistered files. A trace is the record that the file had. It stays until that one's deadline; or
  without an end, if a dead process may have left the file in a private directory. Of more than MOST_TRACES those that
  end first are dropped.

  Needs    unregistered, former, past
  Defines  MOST_TRACES, drop_trace, leave_trace, trace_of
]]
local MOST_TRACES = 10000

local function drop_trace(path)
  redis.call('ZREM', unregistered, path)
  redis.call('HDEL', former, path)
end

-- A trace without an end is not replaced by one that ends.
local function leave_trace(path, record, ends)
  if ends ~= '+inf' and redis.call('ZSCORE', unregistered, path) == 'inf' then
    return
  end
  redis.call('ZADD', unregistered, ends, path)
  redis.call('HSET', former, path, record)
  local over = redis.call('ZCARD', unregistered) - MOST_TRACES
  local soonest = redis.call('ZRANGE', unregistered, 0, 9, 'WITHSCORES')
  for i = 1, #soonest, 2 do
    if over > 0 or soonest[i + 1] ~= 'inf' and tonumber(soonest[i + 1]) <= past then
      drop_trace(soonest[i])
      over = over - 1
    end
  end
end

-- Returns nil if there is no trace, or if it has ended.
local function trace_of(path)
  local ends = redis.call('ZSCORE', unregistered, path)
  if ends and (ends == 'inf' or tonumber(ends) > past) then
    return redis.call('HGET', former, path)
  end
end
