--[[
  revive: bring dead letters back; they are due at once, as if they had never failed.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   dead      zset  path -> buried at ms
  KEYS[3]   retries   hash  path -> failed attempts
  KEYS[4]   errors    hash  path -> last error
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: revived, absent (it is not a dead letter)
  Atomic   a path moves from dead to registry.
  Cost     O(files * log N); removes before it adds.
]]
local registry, dead, retries, errors = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local reply = {}
for i = 2, #ARGV do
  local path, code = ARGV[i], 'absent'
  if redis.call('ZREM', dead, path) == 1 then
    code = 'revived'
    redis.call('HDEL', retries, path)
    redis.call('HDEL', errors, path)
    redis.call('ZADD', registry, string.format('%.0f', now), path)
  end
  reply[#reply + 1] = code
end
return reply
