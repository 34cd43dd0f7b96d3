--[[
  nack: give back files that were not deleted: they are retried later, or buried if retrying is pointless.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals
  KEYS[10]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[11]  meta      hash  slack_ms
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   token     int   of the claim
  ARGV[3+]  files     4 each: path, delay_ms, attempt (1: counts as failed, 0: does not), reason
                      delay_ms 'own' puts it back at its own deadline, 'never' buries it

  Returns  the number of settled files; files that are not leased under this token do not change
  Atomic   a path moves from leases to registry or dead. If another file waited behind it, that file
           enters instead: the old file has lost its name and counts as replaced.
  Cost     O(files * log N); removes before it adds.
  Uses     clock, slack, record, deadline, totals, failures, successor, lease
]]
local claim = tonumber(token)
if not claim or MORE % 4 ~= 0 then
  return redis.error_reply('ERR a nack takes a token, and four arguments for each file')
end
for i = FIRST, #ARGV, 4 do
  local delay = ARGV[i + 1]
  if delay ~= 'own' and delay ~= 'never' and not tonumber(delay) then
    return redis.error_reply('ERR no such delay: ' .. delay)
  end
end

local settled = 0
for i = FIRST, #ARGV, 4 do
  local path, delay, reason = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  if holds(claim, path) then
    settled = settled + 1
    redis.call('ZREM', leases, path)
    if succeed(path) then
      add('replaced', 1)
    else
      if delay == 'never' then
        redis.call('ZADD', dead, now, path)
        add('buried', 1)
      elseif delay == 'own' then
        redis.call('ZADD', registry, deadline_of(redis.call('HGET', records, path)) or past, path)
      else
        redis.call('ZADD', registry, past + tonumber(delay), path)
      end
      if ARGV[i + 2] == '1' then
        redis.call('HINCRBY', retries, path, 1)
        add('failed', 1)
      end
      if reason ~= '' then
        redis.call('HSET', errors, path, reason)
        add('kept:' .. reason, 1)
      end
    end
  end
end
end_claim(token)
keep_totals()
return settled
