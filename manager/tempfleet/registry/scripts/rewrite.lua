--[[
  rewrite: other objects took the names of claimed files, as their rewrites: give the records to the new objects.

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
  ARGV[3+]  files     4 each: path, age_ms (since the last change of the new object), size_bytes, identity

  Returns  the number of settled files; files that are not leased under this token do not change
  Atomic   a path moves from leases to registry with its new record. The record keeps its owner, tags and length
           of life (from registration to deadline), which begins anew age_ms ago, never before the old one did. It
           keeps the flags that are not about the old object. If another file waited behind the claim, that file
           enters instead: the old file counts as replaced.
  Cost     O(files * log N); removes before it adds.
  Uses     clock, record, totals, failures, successor, lease
]]
local claim = tonumber(token)
if not claim or MORE % 4 ~= 0 then
  return redis.error_reply('ERR rewrite takes a token, and four arguments for each file')
end
for i = FIRST, #ARGV, 4 do
  if not (tonumber(ARGV[i + 1]) and tonumber(ARGV[i + 2])) then
    return redis.error_reply('ERR times and sizes are numbers')
  end
end

local settled = 0
for i = FIRST, #ARGV, 4 do
  local path, size = ARGV[i], tonumber(ARGV[i + 2])
  local registered, deadline, old_size, _, old_flags, uid, tail = parse(redis.call('HGET', records, path))
  if registered and holds(claim, path) then
    settled = settled + 1
    redis.call('ZREM', leases, path)
    forget_failures(path)
    if succeed(path) then
      add('replaced', 1)
    else
      local life = math.max(deadline - registered, 0)
      local flags = string.gsub(old_flags, '[-bimruz]', '')
      flags = flags == '' and '-' or flags
      registered = math.max(math.min(now, now - tonumber(ARGV[i + 1])), registered)
      redis.call('HSET', records, path, record_of(registered, registered + life, size, ARGV[i + 3], flags, uid, tail))
      redis.call('ZADD', registry, registered + life, path)
      count(-1, old_size, old_flags, tail)
      count(1, size, flags, tail)
      add('rewritten', 1)
    end
  end
end
end_claim(token)
keep_totals()
return settled
