--[[
  set_aside: files were moved into the quarantine: move their records to the new paths.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   records   hash  path -> record
  KEYS[5]   retries   hash  path -> failed attempts
  KEYS[6]   errors    hash  path -> last error
  KEYS[7]   next      hash  path -> record that waits behind a claim
  KEYS[8]   stats     hash  totals
  KEYS[9]   tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   token     int   of the claim
  ARGV[3+]  files     9 each: old path, then new path, ttl_ms, age_ms, size_bytes, identity, flags, uid, tail

  Returns  the number of settled files; files that are not leased under this token do not change
  Atomic   the old path leaves leases as the new one enters the registry, so that the file is counted once at
           all times. If the new path is registered already, the old one was another link to the same file and
           counts as missing. A file that waited behind the old one enters the registry too.
  Cost     O(files * log N); removes before it adds.
  Uses     clock, record, totals, failures, successor, lease
]]
local claim = tonumber(token)
if not claim or MORE % 9 ~= 0 then
  return redis.error_reply('ERR set_aside takes a token, and nine arguments for each file')
end
for i = FIRST, #ARGV, 9 do
  if not (tonumber(ARGV[i + 2]) and tonumber(ARGV[i + 4])) then
    return redis.error_reply('ERR times and sizes are numbers')
  end
end

local settled = 0
for i = FIRST, #ARGV, 9 do
  local path, aside, size, flags, tail = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 4]), ARGV[i + 6], ARGV[i + 8]
  if holds(claim, path) then
    settled = settled + 1
    local _, _, old_size, _, old_flags, _, old_tail = parse(redis.call('HGET', records, path))
    redis.call('ZREM', leases, path)
    redis.call('HDEL', records, path)
    forget_failures(path)
    count(-1, old_size, old_flags, old_tail)
    if redis.call('HEXISTS', records, aside) == 1 then
      add('missing', 1)
    else
      local deadline = now + tonumber(ARGV[i + 2])
      redis.call('HSET', records, aside, record_of(now, deadline, size, ARGV[i + 5], flags, ARGV[i + 7], tail))
      redis.call('ZADD', registry, deadline, aside)
      count(1, size, flags, tail)
      add('set_aside', 1)
    end
    succeed(path)
  end
end
end_claim(token)
keep_totals()
return settled
