--[[
  read: read everything that the registry has about the named files.

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

  Returns  {now_ms, record, waiting, leased, held, dead, attempts, error, reason, ...} eight values for each file,
           in order: its record, its score in each set, its failures, why it is held; '' for what is absent
  Atomic   reads only; a path that is not in exactly one set, or has no record, is damaged (see audit).
  Cost     O(files)
  Uses     number, clock
]]
local reply = {whole(now)}
for i = FIRST, #ARGV do
  local path = ARGV[i]
  local at = 8 * (i - FIRST) + 2
  reply[at] = redis.call('HGET', records, path) or ''
  reply[at + 1] = redis.call('ZSCORE', registry, path) or ''
  reply[at + 2] = redis.call('ZSCORE', leases, path) or ''
  reply[at + 3] = redis.call('ZSCORE', held, path) or ''
  reply[at + 4] = redis.call('ZSCORE', dead, path) or ''
  reply[at + 5] = redis.call('HGET', retries, path) or ''
  reply[at + 6] = redis.call('HGET', errors, path) or ''
  reply[at + 7] = redis.call('HGET', reasons, path) or ''
end
return reply
