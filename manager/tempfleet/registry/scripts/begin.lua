--[[
  begin: record that the destruction of a claimed file begins. From now on only part of the file may be left.

  KEYS[1]  leases   zset  path -> token
  KEYS[2]  claims   zset  token -> lease deadline ms
  KEYS[3]  records  hash  path -> record
  KEYS[4]  meta     hash  jumped_ms
  ARGV[1]  now_ms   int   '' for the server's clock
  ARGV[2]  token    int   of the claim
  ARGV[3]  path     str

  Returns  1, or 0 if the file is not leased under this token any more: nothing changed
  Atomic   the record stays where it is and gets the flag b, which only the end of the record removes.
  Cost     O(log N); removes before it adds, so that it works at maxmemory.
  Uses     clock, jumped, record, lease
]]
local claim = tonumber(token)
if not claim then
  return redis.error_reply('ERR begin takes a token')
end
local ends = redis.call('ZSCORE', claims, token)
if not holds(claim, path) or not ends or tonumber(ends) <= now - jumped then
  return 0
end
local registered, deadline, size, identity, flags, uid, tail = parse(redis.call('HGET', records, path))
if registered and not has(flags, 'b') then
  flags = string.gsub(flags, '-', '') .. 'b'
  redis.call('HDEL', records, path)
  redis.call('HSET', records, path, record_of(registered, deadline, size, identity, flags, uid, tail))
end
return 1
