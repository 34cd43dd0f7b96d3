--[[
  nack: the files are not gone: back to the registry, later; or buried, when there is no point in trying again.

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
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   token     int   the claim's
  ARGV[3+]  files     4 each: path, delay_ms, attempt (1: counts as failed, 0: does not), reason
                      delay_ms 'own' puts it back at its own deadline, 'never' buries it

  Returns  how many were settled; the others are not leased under this token, and nothing changed for them
  Atomic   a path moves from leases to registry or dead. Where another file waited behind it, that one
           enters instead: the old file has lost its name and counts as replaced.
  Cost     O(files * log N); removes before it adds.
]]
local registry, leases, claims, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local records, retries, errors, next_, stats = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local tags = KEYS[10]

local now, token = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if not token or (#ARGV - 2) % 4 ~= 0 then
  return redis.error_reply('ERR a nack takes a token, and four arguments for each file')
end
for i = 3, #ARGV, 4 do
  local delay = ARGV[i + 1]
  if delay ~= 'own' and delay ~= 'never' and not tonumber(delay) then
    return redis.error_reply('ERR no such delay: ' .. delay)
  end
end

local settled, entered, entered_bytes, bytes, buried, failed = 0, 0, 0, 0, 0, 0
local reasons = {}

local tag_files, tag_bytes = {}, {}
local function count_tags(record, n)
  local size, flags, tail = string.match(record, '^1 %d+ %d+ (%d+) %S+ (%S+) [^\n]*\n(.*)$')
  local named = tail and not string.find(flags, 'q', 1, true) and string.match(tail, '"tags": "([^"]*)"')
  for tag in string.gmatch(named or '', '([^,]*),') do
    tag_files[tag] = (tag_files[tag] or 0) + n
    tag_bytes[tag] = (tag_bytes[tag] or 0) + n * tonumber(size)
  end
end

for i = 3, #ARGV, 4 do
  local path, delay, reason = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local holder = redis.call('ZSCORE', leases, path)
  if holder and tonumber(holder) == token then
    settled = settled + 1
    redis.call('ZREM', leases, path)
    local record = redis.call('HGET', records, path) or ''
    local waiting = redis.call('HGET', next_, path)
    if waiting then
      local next_deadline, next_size = string.match(waiting, '^1 %d+ (%d+) (%d+)')
      redis.call('HDEL', next_, path)
      redis.call('HDEL', retries, path)
      redis.call('HDEL', errors, path)
      redis.call('HSET', records, path, waiting)
      redis.call('ZADD', registry, next_deadline, path)
      count_tags(record, -1)
      entered, entered_bytes = entered + 1, entered_bytes + tonumber(next_size)
      bytes = bytes - tonumber(string.match(record, '^1 %d+ %d+ (%d+)') or 0)
    else
      if delay == 'never' then
        redis.call('ZADD', dead, string.format('%.0f', now), path)
        buried = buried + 1
      elseif delay == 'own' then
        redis.call('ZADD', registry, string.match(record, '^1 %d+ (%d+)') or string.format('%.0f', now), path)
      else
        redis.call('ZADD', registry, string.format('%.0f', now + tonumber(delay)), path)
      end
      if ARGV[i + 2] == '1' then
        redis.call('HINCRBY', retries, path, 1)
        failed = failed + 1
      end
      if reason ~= '' then
        redis.call('HSET', errors, path, reason)
        reasons[reason] = (reasons[reason] or 0) + 1
      end
    end
  end
end

if redis.call('ZCOUNT', leases, ARGV[2], ARGV[2]) == 0 then
  redis.call('ZREM', claims, ARGV[2])
end
for reason, n in pairs(reasons) do
  redis.call('HINCRBY', stats, 'kept:' .. reason, n)
end
if failed > 0 then
  redis.call('HINCRBY', stats, 'failed', failed)
end
if buried > 0 then
  redis.call('HINCRBY', stats, 'buried', buried)
end
if entered > 0 then
  redis.call('HINCRBY', stats, 'replaced', entered)
  redis.call('HINCRBY', stats, 'registered', entered)
  redis.call('HINCRBY', stats, 'registered_bytes', string.format('%.0f', entered_bytes))
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', bytes + entered_bytes))
  redis.call('HINCRBY', stats, 'behind_bytes', string.format('%.0f', 0 - entered_bytes))
end
for tag, n in pairs(tag_files) do
  redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', tag_bytes[tag]))
  if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
    redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
  end
end
return settled
