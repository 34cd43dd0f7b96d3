--[[
  look: what the registry knows of the named files.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> end of hold ms
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   reasons   hash  path -> why it is held
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2+]  files     1 each: path

  Returns  {now_ms, record, waiting, leased, held, dead, attempts, error, reason, ...} eight for each file, in
           order: its record, its score in each set, its failures, why it is held; '' for what there is not
  Atomic   reads only; a path that is not in exactly one set, or has no record, is damage (see audit).
  Cost     O(files)
]]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local reply = {string.format('%.0f', now)}
for i = 2, #ARGV do
  local path = ARGV[i]
  reply[#reply + 1] = redis.call('HGET', KEYS[5], path) or ''
  for set = 1, 4 do
    reply[#reply + 1] = redis.call('ZSCORE', KEYS[set], path) or ''
  end
  reply[#reply + 1] = redis.call('HGET', KEYS[6], path) or ''
  reply[#reply + 1] = redis.call('HGET', KEYS[7], path) or ''
  reply[#reply + 1] = redis.call('HGET', KEYS[8], path) or ''
end
return reply
