--[[
  stats: read everything that is counted for one volume, at one instant.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   held      zset  path -> +inf, while it has a keeper
  KEYS[5]   dead      zset  path -> buried at ms
  KEYS[6]   records   hash  path -> record
  KEYS[7]   retries   hash  path -> failed attempts
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals and histogram buckets
  KEYS[10]  meta      hash  schema, epoch, disk, last token, refused, slack_ms, jumped_ms, pause
  KEYS[11]  keepers   zset  keeper -> end ms or +inf
  ARGV[1]   now_ms    int   '' for the server's clock

  Returns  {now_ms, waiting, leased, claims, held, dead, records, failed, behind, due, keepers, oldest, totals,
            meta}; oldest is the lowest score of the registry, '' if it is empty; totals and meta are flat
           lists of field, value
  Atomic   reads only.
  Cost     O(log N + fields of stats)
  Uses     number, clock, slack, jumped, pause
]]
local due = pause and 0 or redis.call('ZCOUNT', registry, '-inf', whole(past))

return {
  whole(now),
  redis.call('ZCARD', registry),
  redis.call('ZCARD', leases),
  redis.call('ZCARD', claims),
  redis.call('ZCARD', held),
  redis.call('ZCARD', dead),
  redis.call('HLEN', records),
  redis.call('HLEN', retries),
  redis.call('HLEN', next),
  due,
  redis.call('ZCARD', keepers),
  redis.call('ZRANGE', registry, 0, 0, 'WITHSCORES')[2] or '',
  redis.call('HGETALL', stats),
  redis.call('HGETALL', meta),
}
