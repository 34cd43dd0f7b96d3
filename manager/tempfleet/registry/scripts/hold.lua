--[[
  hold: keep files until a time, or for ever, and say why.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> end of hold ms
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   reasons   hash  path -> why it is held
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   hold_ms   int   '' for ever
  ARGV[3]   reason    str   '' for none; another hold's reason goes with that hold
  ARGV[4+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: held, claimed (being deleted: nothing changed), absent
  Atomic   a path moves from registry or dead to held; its deadline waits in its record.
  Cost     O(files * log N); removes before it adds.
]]
local registry, leases, held, dead, records = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local reasons = KEYS[6]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ends = '+inf'
if ARGV[2] ~= '' then
  local hold = tonumber(ARGV[2])
  if not hold then
    return redis.error_reply('ERR times are numbers')
  end
  ends = string.format('%.0f', now + hold)
end

local reply = {}
for i = 4, #ARGV do
  local path, code = ARGV[i], 'held'
  if redis.call('HEXISTS', records, path) == 0 then
    code = 'absent'
  elseif redis.call('ZSCORE', leases, path) then
    code = 'claimed'
  else
    redis.call('ZREM', registry, path)
    redis.call('ZREM', dead, path)
    redis.call('HDEL', reasons, path)
    redis.call('ZADD', held, ends, path)
    if ARGV[3] ~= '' then
      redis.call('HSET', reasons, path, ARGV[3])
    end
  end
  reply[#reply + 1] = code
end
return reply
