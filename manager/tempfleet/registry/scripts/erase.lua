--[[
  erase: delete all keys of a volume that has no record left.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   held      zset  path -> +inf, while it has a keeper
  KEYS[5]   dead      zset  path -> buried at ms
  KEYS[6]   records   hash  path -> record
  KEYS[7]   retries   hash  path -> failed attempts
  KEYS[8]   errors    hash  path -> last error
  KEYS[9]   next      hash  path -> record that waits behind a claim
  KEYS[10]  stats     hash  totals
  KEYS[11]  meta      hash  last token
  KEYS[12]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[13]  keepers   zset  keeper -> end ms or +inf
  KEYS[14]  kept      zset  keeper -> 0, in the order of paths
  KEYS[15]  reasons   hash  keeper -> why it keeps the file
  KEYS[16]  unregistered  zset  path -> when its trace ends
  KEYS[17]  former    hash  path -> trace of its record
  ARGV[1]   schema    int   refused if the registry has another one
  ARGV[2]   token     int   the last token when the forgetting began, 0 for none

  Returns  1; 0, and nothing changed, if there is a record, or the last token is another one (see forget.lua)
  Atomic   all keys go together, and with them what damage left in a set without a record.
  Cost     O(1): the server frees the memory in the background.
  Uses     schema
]]
local last = tonumber(redis.call('HGET', meta, 'token') or 0)
if redis.call('HLEN', records) > 0 or last ~= tonumber(token) then
  return 0
end
redis.call('UNLINK', registry, leases, claims, held, dead, records, retries, errors, next, stats, meta, tags,
  keepers, kept, reasons, unregistered, former)
return 1
