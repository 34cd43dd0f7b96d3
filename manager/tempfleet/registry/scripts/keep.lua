--[[
  keep: add keepers to files, or let them last longer, never shorter.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> +inf, while it has a keeper
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   keepers   zset  keeper -> end ms or +inf
  KEYS[7]   kept      zset  keeper -> 0, in the order of paths
  KEYS[8]   reasons   hash  keeper -> why it keeps the file
  KEYS[9]   meta      hash  schema, slack_ms
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3+]  files     6 each: path, name of the keeper, keep_ms ('' for no end), reason ('' for none), instead (the
                      name of another keeper that ends in the same move; '' for none), registered_ms as the caller got
                      it when it registered the file ('' if it did not)

  Returns  {code, end_ms, ...} two for each file, in order: kept, claimed (its deletion has begun: nothing
           changed), absent; and the end of the keeper, 'inf' if it has none, '' if nothing changed
  Atomic   a path moves from registry or dead to held; its record keeps its deadline, and gets the flag s unless the
           caller registered it last. A keeper's reason came with its end: a call that would end it earlier changes
           neither.
  Cost     O(files * log N); removes before it adds.
  Uses     number, clock, slack, begun, sharing, keepers, release, schema
]]
if MORE % 6 ~= 0 then
  return redis.error_reply('ERR a file takes six arguments')
end
for i = FIRST, #ARGV, 6 do
  if ARGV[i + 2] ~= '' and not tonumber(ARGV[i + 2]) then
    return redis.error_reply('ERR times are numbers')
  end
end

-- Returns the end that the keeper has from now on.
local function lengthen(keeper, keep_ms, reason)
  local ends = keep_ms == '' and 'inf' or whole(now + tonumber(keep_ms))
  local old = redis.call('ZSCORE', keepers, keeper)
  if old and ends ~= 'inf' and (old == 'inf' or tonumber(old) > tonumber(ends)) then
    return old
  end
  if not old then
    redis.call('ZADD', kept, 0, keeper)
  elseif old ~= 'inf' and tonumber(old) <= past then
    -- that hold has ended, although it was not reaped yet
    redis.call('HDEL', reasons, keeper)
  end
  redis.call('ZADD', keepers, ends, keeper)
  if reason ~= '' then
    redis.call('HSET', reasons, keeper, reason)
  end
  return ends
end

local reply = {}
for i = FIRST, #ARGV, 6 do
  local path, instead, code, ends = ARGV[i], ARGV[i + 4], 'absent', ''
  local record = redis.call('HGET', records, path)
  if record then
    code = is_being_deleted(path, record) and 'claimed' or 'kept'
  end
  if code == 'kept' then
    redis.call('ZREM', registry, path)
    redis.call('ZREM', dead, path)
    redis.call('ZADD', held, '+inf', path)
    redis.call('HSET', records, path, shared_unless(record, ARGV[i + 5]))
    ends = lengthen(path .. '\0' .. ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    if instead ~= '' and instead ~= ARGV[i + 1] then
      end_keeper(path .. '\0' .. instead)
    end
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = ends
end
return reply
