--[[
  failures: the failed attempts of files.

  Needs    retries, errors
  Defines  any_failed, forget_failures
]]
-- Most volumes have no failures. Then no file costs a call.
local any_failed

local function forget_failures(path)
  if any_failed == nil then
    any_failed = redis.call('HLEN', retries) + redis.call('HLEN', errors) > 0
  end
  if any_failed then
    redis.call('HDEL', retries, path)
    redis.call('HDEL', errors, path)
  end
end
