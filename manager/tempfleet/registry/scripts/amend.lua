--[[
  amend: record that a file was compressed or decompressed: it is another object now, of another size.

  KEYS[1]  leases    zset  path -> token
  KEYS[2]  records   hash  path -> record
  KEYS[3]  stats     hash  totals
  KEYS[4]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]  path      str
  ARGV[2]  expected  str   the identity that the record must have
  ARGV[3]  needed    str   a flag that the record must have; '' for none
  ARGV[4]  identity  str   its new identity; two identities with a + between accept either object
  ARGV[5]  marks     str   which of the flags z and i it has from now on; '' for neither
  ARGV[6]  size      int   its new size; '' keeps the old one
  ARGV[7]  total     str   compressed, decompressed, or '' to count nothing
  ARGV[8]  saved     int   bytes that compression freed on the disk

  Returns  1, or 0 if nothing changed: there is no such record, it has another identity, lacks the flag, is in
           quarantine or half deleted, or a claim was made when the record stood for one object only
  Atomic   the record stays in its set and keeps its times, owner and tags; totals and tags follow its size.
  Cost     O(tags of the file). Its first write adds, so at maxmemory Redis refuses the whole call.
  Uses     record, totals
]]
local saved_bytes = tonumber(saved)
if not saved_bytes or not (total == '' or total == 'compressed' or total == 'decompressed') then
  return redis.error_reply('ERR no such total: ' .. total)
end

local registered, deadline, old_size, old_identity, flags, uid, tail = parse(redis.call('HGET', records, path))
if old_identity ~= expected or has(flags, 'q') or has(flags, 'b') or not has(flags, needed) then
  return 0
end
if not has(old_identity, '+') and redis.call('ZSCORE', leases, path) then
  return 0
end

local new_size = tonumber(size) or old_size
flags = string.gsub(flags, '[-zi]', '') .. marks
flags = flags == '' and '-' or flags
redis.call('HSET', records, path, record_of(registered, deadline, new_size, identity, flags, uid, tail))
count(-1, old_size, flags, tail)
count(1, new_size, flags, tail)
if total ~= '' then
  add(total, 1)
end
add('compression_saved_bytes', math.max(saved_bytes, 0))
keep_totals()
return 1
