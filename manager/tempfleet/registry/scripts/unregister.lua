--[[
  unregister: take files out of management; the files themselves are not touched.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> end of hold ms
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   stats     hash  totals
  KEYS[9]   tags      hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[10]  reasons   hash  path -> why it is held
  ARGV[1]   total     str   the total that counts them: released, missing or moved_out
  ARGV[2]   until_ms  int   only files registered at or before it; '' for all
  ARGV[3+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: released, claimed (being deleted: nothing changed), compressed
           (nothing changed, because its user could not read it; only if total is released), newer (registered
           after until_ms: nothing changed), absent
  Atomic   a path leaves all sets and its record together.
  Cost     O(files * log N); removes before it adds.
  Uses     record, totals, failures
]]
if total ~= 'released' and total ~= 'missing' and total ~= 'moved_out' then
  return redis.error_reply('ERR no such total: ' .. total)
end

local before, reply = tonumber(until_ms), {}
for i = FIRST, #ARGV do
  local path, code = ARGV[i], nil
  local record = redis.call('HGET', records, path)
  local registered, _, size, _, flags, _, tail = parse(record)
  if not record then
    code = 'absent'
  elseif redis.call('ZSCORE', leases, path) then
    code = 'claimed'
  elseif before and (registered or 0) > before then
    code = 'newer'
  elseif total == 'released' and has(flags, 'z') and not has(flags, 'q') then
    code = 'compressed'
  else
    code = 'released'
    redis.call('ZREM', registry, path)
    redis.call('ZREM', held, path)
    redis.call('ZREM', dead, path)
    redis.call('HDEL', records, path)
    redis.call('HDEL', reasons, path)
    forget_failures(path)
    count(-1, size, flags, tail)
    add(total, 1)
  end
  reply[#reply + 1] = code
end
keep_totals()
return reply
