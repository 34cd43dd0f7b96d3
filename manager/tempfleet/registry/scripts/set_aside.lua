--[[
  set_aside: files were moved into the quarantine: their records follow them to their new paths.

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
  ARGV[2]   token     int   the claim's
  ARGV[3+]  files     9 each: old path, then new path, ttl_ms, age_ms, size_bytes, identity, flags, uid, tail

  Returns  how many were settled; the others are not leased under this token, and nothing changed for them
  Atomic   the old path leaves leases as the new one enters the registry: the file is counted once, throughout. Where
           the new one is there already, the old was another link to the same file, and counts as missing. A file
           that waited behind the old one enters the registry too.
  Cost     O(files * log N); removes before it adds.
]]
local registry, leases, claims, records = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local retries, errors, next_, stats = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local tags = KEYS[9]

local now, token = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if not token or (#ARGV - 2) % 9 ~= 0 then
  return redis.error_reply('ERR setting aside takes a token, and nine arguments for each file')
end
for i = 3, #ARGV, 9 do
  if not (tonumber(ARGV[i + 2]) and tonumber(ARGV[i + 4])) then
    return redis.error_reply('ERR times and sizes are numbers')
  end
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

local settled, missing, aside_bytes, bytes, entered, entered_bytes = 0, 0, 0, 0, 0, 0
for i = 3, #ARGV, 9 do
  local path, aside = ARGV[i], ARGV[i + 1]
  local holder = redis.call('ZSCORE', leases, path)
  if holder and tonumber(holder) == token then
    settled = settled + 1
    local old = redis.call('HGET', records, path) or ''
    local old_size = string.match(old, '^1 %d+ %d+ (%d+)')
    count_tags(old, -1)
    local size, deadline = tonumber(ARGV[i + 4]), now + tonumber(ARGV[i + 2])
    redis.call('ZREM', leases, path)
    redis.call('HDEL', records, path)
    redis.call('HDEL', retries, path)
    redis.call('HDEL', errors, path)
    bytes = bytes - (tonumber(old_size) or 0)
    if redis.call('HEXISTS', records, aside) == 1 then
      missing = missing + 1
    else
      local record = string.format('1 %.0f %.0f %.0f ', now, deadline, size)
        .. ARGV[i + 5] .. ' ' .. ARGV[i + 6] .. ' ' .. ARGV[i + 7] .. '\n' .. ARGV[i + 8]
      redis.call('HSET', records, aside, record)
      redis.call('ZADD', registry, string.format('%.0f', deadline), aside)
      aside_bytes, bytes = aside_bytes + size, bytes + size
    end
    local waiting = redis.call('HGET', next_, path)
    if waiting then
      local next_deadline, next_size = string.match(waiting, '^1 %d+ (%d+) (%d+)')
      redis.call('HDEL', next_, path)
      redis.call('HSET', records, path, waiting)
      redis.call('ZADD', registry, next_deadline, path)
      entered, entered_bytes = entered + 1, entered_bytes + tonumber(next_size)
    end
  end
end

if redis.call('ZCOUNT', leases, ARGV[2], ARGV[2]) == 0 then
  redis.call('ZREM', claims, ARGV[2])
end
if settled > 0 then
  redis.call('HINCRBY', stats, 'set_aside', settled - missing)
  redis.call('HINCRBY', stats, 'aside', settled - missing)
  redis.call('HINCRBY', stats, 'aside_bytes', string.format('%.0f', aside_bytes))
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', bytes + entered_bytes))
end
if missing > 0 then
  redis.call('HINCRBY', stats, 'missing', missing)
end
if entered > 0 then
  redis.call('HINCRBY', stats, 'behind_bytes', string.format('%.0f', 0 - entered_bytes))
  redis.call('HINCRBY', stats, 'registered', entered)
  redis.call('HINCRBY', stats, 'registered_bytes', string.format('%.0f', entered_bytes))
end
for tag, n in pairs(tag_files) do
  redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', tag_bytes[tag]))
  if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
    redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
  end
end
return settled
