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
  ARGV[2]   until_ms  int   only those registered at or before it; '' for all
  ARGV[3+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: released, claimed (being deleted: nothing changed), compressed
           (nothing changed: its user would meet bytes that he cannot read; only when released), newer (registered
           after until_ms: nothing changed), absent
  Atomic   a path leaves all sets and its record together.
  Cost     O(files * log N); removes before it adds.
]]
local registry, leases, held, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local records, retries, errors, stats = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local tags, reasons = KEYS[9], KEYS[10]

local total, before = ARGV[1], tonumber(ARGV[2])
if total ~= 'released' and total ~= 'missing' and total ~= 'moved_out' then
  return redis.error_reply('ERR no such total: ' .. total)
end

local tag_files, tag_bytes = {}, {}
local function count_tags(record, n)
  local size, flags, tail = string.match(record, '^1 %d+ %d+ (%d+) %S+ (%S+) [^\n]*\n(.*)$')
  local named = tail and not string.find(flags, 'q', 1, true) and string.match(tail, '"tags": "([^"]*)"')
  for tag in string.gmatch(named or '', '([^,]*),') do
    tag_files[tag] = (tag_files[tag] or 0) + n
    tag_bytes[tag] = (tag_bytes[tag] or 0) + n * tonumber(size)
  end
end

local reply, left, left_bytes, aside, aside_bytes = {}, 0, 0, 0, 0
for i = 3, #ARGV do
  local path, code = ARGV[i], 'released'
  local record = redis.call('HGET', records, path)
  if not record then
    code = 'absent'
  elseif redis.call('ZSCORE', leases, path) then
    code = 'claimed'
  elseif before and tonumber(string.match(record, '^1 (%d+)') or 0) > before then
    code = 'newer'
  elseif total == 'released' and string.find(string.match(record, '^1 %d+ %d+ %d+ %S+ (%S+)') or '', '^[^q]*z[^q]*$') then
    code = 'compressed'
  else
    redis.call('ZREM', registry, path)
    redis.call('ZREM', held, path)
    redis.call('ZREM', dead, path)
    redis.call('HDEL', records, path)
    redis.call('HDEL', retries, path)
    redis.call('HDEL', errors, path)
    redis.call('HDEL', reasons, path)
    count_tags(record, -1)
    local size, flags = string.match(record, '^1 %d+ %d+ (%d+) %S+ (%S+)')
    left, left_bytes = left + 1, left_bytes + tonumber(size or 0)
    if flags and string.find(flags, 'q', 1, true) then
      aside, aside_bytes = aside + 1, aside_bytes + tonumber(size)
    end
  end
  reply[#reply + 1] = code
end

if left > 0 then
  redis.call('HINCRBY', stats, total, left)
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', 0 - left_bytes))
end
if aside > 0 then
  redis.call('HINCRBY', stats, 'aside', -aside)
  redis.call('HINCRBY', stats, 'aside_bytes', string.format('%.0f', 0 - aside_bytes))
end
for tag, n in pairs(tag_files) do
  redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', tag_bytes[tag]))
  if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
    redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
  end
end
return reply
