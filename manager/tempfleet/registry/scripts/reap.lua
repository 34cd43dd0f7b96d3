--[[
  reap: return files to the registry whose lease or last keeper has ended.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   held      zset  path -> +inf, while it has a keeper
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals
  KEYS[10]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[11]  keepers   zset  keeper -> end ms or +inf
  KEYS[12]  kept      zset  keeper -> 0, in the order of paths
  KEYS[13]  reasons   hash  keeper -> why it keeps the file
  KEYS[14]  meta      hash  schema, slack_ms, jumped_ms, pause
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   limit     int   1..1000 files of expired claims, and as many keepers
  ARGV[4]   latest_ms   int  see lib/horizon.lua; '' if the caller does not know it
  ARGV[5]   expected_ms int

  Returns  {recovered, unheld, more, total}: files taken from expired claims, files whose last keeper ended, 1 if
           there is more to reap, and the number of files that were ever taken from expired claims
  Atomic   a path moves from leases or held to registry, at its own deadline. If another file waited
           behind a claim, that file enters instead: the old file counts as replaced. The record of an expired claim
           gets the flag r.
  Cost     O(limit * log N); removes before it adds. An expired lease never counts as a failed attempt.
  Uses     number, clock, slack, jumped, pause, horizon, record, deadline, totals, failures, successor, lease, keepers, release, schema
]]
local most = tonumber(limit)
if not (most and most >= 1 and most <= 1000) then
  return redis.error_reply('ERR a limit is from 1 to 1000')
end

local function put_back(path)
  redis.call('ZADD', registry, deadline_of(redis.call('HGET', records, path)) or whole(past), path)
end

-- Records that its claimer may have died, and left the file in a private directory.
local function mark_interrupted(path)
  local record = redis.call('HGET', records, path)
  local registered, deadline, size, identity, flags, uid, tail = parse(record)
  if registered and not has(flags, 'r') then
    flags = string.gsub(flags, '-', '') .. 'r'
    redis.call('HSET', records, path, record_of(registered, deadline, size, identity, flags, uid, tail))
  end
end

local recovered, more = 0, 0
for _, token in ipairs(redis.call('ZRANGEBYSCORE', claims, '-inf', whole(steady), 'LIMIT', 0, most)) do
  if recovered == most then
    more = 1
    break
  end
  local paths = redis.call('ZRANGEBYSCORE', leases, token, token, 'LIMIT', 0, most - recovered)
  for _, path in ipairs(paths) do
    redis.call('ZREM', leases, path)
    if succeed(path) then
      add('replaced', 1)
    else
      put_back(path)
      mark_interrupted(path)
    end
  end
  recovered = recovered + #paths
  if end_claim(token) then
    add('leases_expired', 1)
  else
    more = 1
  end
end
add('recovered', recovered)

local ended, unheld = redis.call('ZRANGEBYSCORE', keepers, '-inf', whole(horizon), 'LIMIT', 0, most), 0
for _, keeper in ipairs(ended) do
  local path = string.match(keeper, '^[^%z]*')
  end_keeper(keeper)
  if leave_held(path) then
    put_back(path)
    unheld = unheld + 1
  end
end
if #ended == most then
  more = 1
end
keep_totals()
return {recovered, unheld, more, redis.call('HGET', stats, 'recovered') or 0}
