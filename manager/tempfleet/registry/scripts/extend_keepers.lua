--[[
  extend_keepers: let keepers last longer, never shorter. It never creates one, so that a renewal that races with the
  end of a keeper cannot bring it back.

  KEYS[1]   keepers  zset  keeper -> end ms or +inf
  KEYS[2]   meta     hash  schema
  ARGV[1]   now_ms   int   '' for the server's clock
  ARGV[2]   schema   int   refused if the registry has another one
  ARGV[3]   keep_ms  int   from now on
  ARGV[4+]  files    2 each: path, name of the keeper

  Returns  {exists, ...} one for each file, in order: 1, or 0 if there is no such keeper
  Atomic   one key; a keeper has no end or a later end, before and after.
  Cost     O(files * log N); removes before it adds, so that keepers last while Redis is full.
  Uses     number, clock, schema
]]
local keep = tonumber(keep_ms)
if not keep or MORE % 2 ~= 0 then
  return redis.error_reply('ERR times are numbers, and a file takes two arguments')
end

local ends, reply = now + keep, {}
for i = FIRST, #ARGV, 2 do
  local keeper = ARGV[i] .. '\0' .. ARGV[i + 1]
  local old = redis.call('ZSCORE', keepers, keeper)
  if old and old ~= 'inf' and tonumber(old) < ends then
    redis.call('ZREM', keepers, keeper)
    redis.call('ZADD', keepers, whole(ends), keeper)
  end
  reply[#reply + 1] = old and 1 or 0
end
return reply
