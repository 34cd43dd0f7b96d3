--[[
  reap: what leases and holds that ran out had, goes back to the registry.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   held      zset  path -> end of hold ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals
  KEYS[10]  reasons   hash  path -> why it is held
  KEYS[11]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   limit     int   1..1000 files of each kind

  Returns  {recovered, lifted, more}: files taken from dead claims, files whose hold ended, and 1 when there
           is more to reap
  Atomic   a path moves from leases or held to registry, at its own deadline. Where another file waited
           behind a claim, that one enters instead: the old file counts as replaced.
  Cost     O(limit * log N); removes before it adds. A lease that ran out never counts as a failed attempt.
]]
local registry, leases, claims, held, records = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local retries, errors, next_, stats, reasons = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local tags = KEYS[11]

local now, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if not (limit and limit >= 1 and limit <= 1000) then
  return redis.error_reply('ERR a limit is from 1 to 1000')
end
local now_text = string.format('%.0f', now)

local function wait_again(path)
  local record = redis.call('HGET', records, path) or ''
  redis.call('ZADD', registry, string.match(record, '^1 %d+ (%d+)') or now_text, path)
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

local recovered, expired, more = 0, 0, 0
local entered, entered_bytes, bytes = 0, 0, 0
for _, token in ipairs(redis.call('ZRANGEBYSCORE', claims, '-inf', now_text, 'LIMIT', 0, limit)) do
  local room = limit - recovered
  if room == 0 then
    more = 1
    break
  end
  local paths = redis.call('ZRANGEBYSCORE', leases, token, token, 'LIMIT', 0, room)
  for _, path in ipairs(paths) do
    redis.call('ZREM', leases, path)
    local waiting = redis.call('HGET', next_, path)
    if waiting then
      local record = redis.call('HGET', records, path) or ''
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
      wait_again(path)
    end
  end
  recovered = recovered + #paths
  if redis.call('ZCOUNT', leases, token, token) == 0 then
    redis.call('ZREM', claims, token)
    expired = expired + 1
  else
    more = 1
  end
end

local ended = redis.call('ZRANGEBYSCORE', held, '-inf', now_text, 'LIMIT', 0, limit)
for _, path in ipairs(ended) do
  redis.call('ZREM', held, path)
  redis.call('HDEL', reasons, path)
  wait_again(path)
end
if #ended == limit then
  more = 1
end

if expired > 0 then
  redis.call('HINCRBY', stats, 'leases_expired', expired)
end
if recovered > 0 then
  redis.call('HINCRBY', stats, 'recovered', recovered)
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
return {recovered, #ended, more}
