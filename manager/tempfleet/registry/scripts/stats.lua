--[[
  stats: everything that is counted of one volume, at one instant.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   held      zset  path -> end of hold ms
  KEYS[5]   dead      zset  path -> buried at ms
  KEYS[6]   records   hash  path -> record
  KEYS[7]   retries   hash  path -> failed attempts
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals and histogram buckets
  KEYS[10]  meta      hash  schema, epoch, disk, last token, refused
  ARGV[1]   now_ms    int   '' for the server's clock

  Returns  {now_ms, waiting, leased, claims, held, dead, records, failed, behind, due, oldest, totals, meta}
           oldest is the lowest score of the registry, '' when it is empty; totals and meta are flat
           field, value lists
  Atomic   reads only.
  Cost     O(log N + fields of stats)
]]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local now_text = string.format('%.0f', now)

return {
  now_text,
  redis.call('ZCARD', KEYS[1]),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[4]),
  redis.call('ZCARD', KEYS[5]),
  redis.call('HLEN', KEYS[6]),
  redis.call('HLEN', KEYS[7]),
  redis.call('HLEN', KEYS[8]),
  redis.call('ZCOUNT', KEYS[1], '-inf', now_text),
  redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '',
  redis.call('HGETALL', KEYS[9]),
  redis.call('HGETALL', KEYS[10]),
}
