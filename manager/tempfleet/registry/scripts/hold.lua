--[[
  hold: keep files until a time, or without end, with a reason.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> end of hold ms
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   reasons   hash  path -> why it is held
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   hold_ms   int   '' holds without end
  ARGV[3]   reason    str   '' for none; the reason of an earlier hold is removed
  ARGV[4+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: held, claimed (being deleted: nothing changed), absent
  Atomic   a path moves from registry or dead to held; its record keeps its deadline.
  Cost     O(files * log N); removes before it adds.
  Uses     number, clock
]]
local ends = '+inf'
if hold_ms ~= '' then
  local hold = tonumber(hold_ms)
  if not hold then
    return redis.error_reply('ERR times are numbers')
  end
  ends = whole(now + hold)
end

local reply = {}
for i = FIRST, #ARGV do
  local path, code = ARGV[i], 'absent'
  if redis.call('HEXISTS', records, path) == 1 then
    code = redis.call('ZSCORE', leases, path) and 'claimed' or 'held'
  end
  if code == 'held' then
    redis.call('ZREM', registry, path)
    redis.call('ZREM', dead, path)
    redis.call('HDEL', reasons, path)
    redis.call('ZADD', held, ends, path)
    if reason ~= '' then
      redis.call('HSET', reasons, path, reason)
    end
  end
  reply[#reply + 1] = code
end
return reply
