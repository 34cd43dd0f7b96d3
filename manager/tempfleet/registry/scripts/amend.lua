--[[
  amend: a file changes its form (compressed, or plain again): its record stands for another object, of another size.

  KEYS[1]  leases    zset  path -> token
  KEYS[2]  records   hash  path -> record
  KEYS[3]  stats     hash  totals
  KEYS[4]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]  path      str
  ARGV[2]  expected  str   the identity that the record must have
  ARGV[3]  identity  str   the identity that it has from now on; two words with a + between accept either object
  ARGV[4]  marks     str   which of the letters z and i its flags have from now on; '' for neither
  ARGV[5]  size      int   its size from now on; '' keeps it
  ARGV[6]  total     str   compressed, decompressed, or '' where nothing is to be counted
  ARGV[7]  saved     int   bytes that compressing gave back to the disk

  Returns  1, or 0 when nothing changed: there is no such record, it has another identity or is in quarantine, or a
           claimer read it when it stood for one object only
  Atomic   where the record is, its instants, owner and tags stay; totals and tags follow its size.
  Cost     O(tags of the file). Its first write adds, so under maxmemory it is refused whole.
]]
local leases, records, stats, tags = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local path, expected, marks, total, saved = ARGV[1], ARGV[2], ARGV[4], ARGV[6], tonumber(ARGV[7])
if not saved or not (total == '' or total == 'compressed' or total == 'decompressed') then
  return redis.error_reply('ERR no such total: ' .. total)
end

local record = redis.call('HGET', records, path) or ''
local times, size, identity, flags, rest = string.match(record, '^(1 %d+ %d+ )(%d+) (%S+) (%S+)( .*)$')
if identity ~= expected or string.find(flags, 'q', 1, true) then
  return 0
end
if not string.find(identity, '+', 1, true) and redis.call('ZSCORE', leases, path) then
  return 0
end

flags = string.gsub(flags, '[-zi]', '') .. marks
local new_size = ARGV[5] == '' and size or ARGV[5]
record = times .. new_size .. ' ' .. ARGV[3] .. ' ' .. (flags == '' and '-' or flags) .. rest
redis.call('HSET', records, path, record)

local growth = tonumber(new_size) - tonumber(size)
if growth ~= 0 then
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', growth))
  for tag in string.gmatch(string.match(rest, '"tags": "([^"]*)"') or '', '([^,]*),') do
    redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', growth))
  end
end
if total ~= '' then
  redis.call('HINCRBY', stats, total, 1)
end
if saved > 0 then
  redis.call('HINCRBY', stats, 'compression_saved_bytes', string.format('%.0f', saved))
end
return 1
