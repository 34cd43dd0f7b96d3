--[[
  read: read everything that the registry has about the named files.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> +inf, while it has a keeper
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   keepers   zset  keeper -> end ms or +inf
  KEYS[9]   kept      zset  keeper -> 0, in the order of paths
  KEYS[10]  reasons   hash  keeper -> why it keeps the file
  KEYS[11]  meta      hash  schema, slack_ms
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3+]  files     1 each: path

  Returns  {now_ms, slack_ms, record, waiting, leased, held, dead, attempts, error, keepers, reason, ...} nine values for each
           file, in order: its record, its score in each set, its failures, the number of its keepers (at most 1000),
           and the reason of the keeper that lasts longest; '' for what is absent. In place of its score in held
           comes the end of that keeper (+inf for none).
  Atomic   reads only; a path that is not in exactly one set, or has no record, is damaged (see audit).
  Cost     O(files + keepers * log N)
  Uses     number, clock, slack, keepers, schema
]]
local reply = {whole(now), whole(slack)}
for i = FIRST, #ARGV do
  local path = ARGV[i]
  local at = 9 * (i - FIRST) + 3
  reply[at] = redis.call('HGET', records, path) or ''
  reply[at + 1] = redis.call('ZSCORE', registry, path) or ''
  reply[at + 2] = redis.call('ZSCORE', leases, path) or ''
  reply[at + 3] = ''
  reply[at + 4] = redis.call('ZSCORE', dead, path) or ''
  reply[at + 5] = redis.call('HGET', retries, path) or ''
  reply[at + 6] = redis.call('HGET', errors, path) or ''
  reply[at + 7], reply[at + 8] = '', ''
  if redis.call('ZSCORE', held, path) then
    local keeper
    reply[at + 7], reply[at + 3], keeper = latest_keeper(path)
    reply[at + 8] = keeper and redis.call('HGET', reasons, keeper) or ''
  end
end
return reply
