--[[
  ack: the files are gone: forget them.

  KEYS[1]   registry     zset  path -> deadline ms
  KEYS[2]   leases       zset  path -> token
  KEYS[3]   claims       zset  token -> lease deadline ms
  KEYS[4]   records      hash  path -> record
  KEYS[5]   retries      hash  path -> failed attempts
  KEYS[6]   errors       hash  path -> last error
  KEYS[7]   next         hash  path -> record that waits behind a claim
  KEYS[8]   stats        hash  totals and histogram buckets
  KEYS[9]   tags         hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]   now_ms       int   '' for the server's clock
  ARGV[2]   token        int   the claim's
  ARGV[3]   age_bounds   str   upper bounds of the age histogram, seconds, rising, separated by spaces
  ARGV[4]   lag_bounds   str   the same for the lag behind the deadline
  ARGV[5+]  files        3 each: path, outcome (deleted, missing or replaced), freed_bytes

  Returns  how many were settled; the others are not leased under this token, and nothing changed for them
  Atomic   a path leaves leases and its record together; a file that waited behind it enters the registry.
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
if not token or (#ARGV - 4) % 3 ~= 0 then
  return redis.error_reply('ERR an ack takes a token, and three arguments for each file')
end
local totals = {deleted = 0, missing = 0, replaced = 0}
for i = 5, #ARGV, 3 do
  if not totals[ARGV[i + 1]] or not tonumber(ARGV[i + 2]) then
    return redis.error_reply('ERR no such outcome: ' .. ARGV[i + 1])
  end
end

local function histogram(name, text)
  local bounds = {}
  for bound in string.gmatch(text, '%S+') do
    bounds[#bounds + 1] = {le = bound, ms = tonumber(bound) * 1000}
  end
  local buckets, sum, count = {}, 0, 0
  local function observe(ms)
    local le = '+Inf'
    for i = 1, #bounds do
      if ms <= bounds[i].ms then
        le = bounds[i].le
        break
      end
    end
    buckets[le], sum, count = (buckets[le] or 0) + 1, sum + ms, count + 1
  end
  local function keep()
    for le, n in pairs(buckets) do
      redis.call('HINCRBY', stats, name .. ':' .. le, n)
    end
    if count > 0 then
      redis.call('HINCRBY', stats, name .. '_ms', string.format('%.0f', sum))
    end
  end
  return observe, keep
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

local observe_age, keep_ages = histogram('age', ARGV[3])
local observe_lag, keep_lags = histogram('lag', ARGV[4])

local any_failed = redis.call('HLEN', retries) + redis.call('HLEN', errors) > 0
local any_next = redis.call('HLEN', next_) > 0
local settled, freed, bytes, entered, entered_bytes = 0, 0, 0, 0, 0
local aside, aside_bytes, behind_bytes = 0, 0, 0

for i = 5, #ARGV, 3 do
  local path, outcome = ARGV[i], ARGV[i + 1]
  local holder = redis.call('ZSCORE', leases, path)
  if holder and tonumber(holder) == token then
    settled = settled + 1
    local record = redis.call('HGET', records, path)
    local registered, deadline, size, flags = string.match(record or '', '^1 (%d+) (%d+) (%d+) %S+ (%S+)')
    redis.call('ZREM', leases, path)
    redis.call('HDEL', records, path)
    if any_failed then
      redis.call('HDEL', retries, path)
      redis.call('HDEL', errors, path)
    end
    count_tags(record or '', -1)
    totals[outcome] = totals[outcome] + 1
    bytes = bytes - (tonumber(size) or 0)
    if flags and string.find(flags, 'q', 1, true) then
      aside, aside_bytes = aside + 1, aside_bytes + tonumber(size)
    end
    if outcome == 'deleted' then
      freed = freed + tonumber(ARGV[i + 2])
      if registered then
        observe_age(math.max(now - tonumber(registered), 0))
        observe_lag(math.max(now - tonumber(deadline), 0))
      end
    end
    local waiting = any_next and redis.call('HGET', next_, path)
    if waiting then
      local next_deadline, next_size = string.match(waiting, '^1 %d+ (%d+) (%d+)')
      redis.call('HDEL', next_, path)
      redis.call('HSET', records, path, waiting)
      redis.call('ZADD', registry, next_deadline, path)
      entered, entered_bytes = entered + 1, entered_bytes + tonumber(next_size)
      behind_bytes = behind_bytes + tonumber(next_size)
    end
  end
end

if redis.call('ZCOUNT', leases, ARGV[2], ARGV[2]) == 0 then
  redis.call('ZREM', claims, ARGV[2])
end
for total, n in pairs(totals) do
  if n > 0 then
    redis.call('HINCRBY', stats, total, n)
  end
end
if freed > 0 then
  redis.call('HINCRBY', stats, 'deleted_bytes', string.format('%.0f', freed))
end
if aside > 0 then
  redis.call('HINCRBY', stats, 'aside', -aside)
  redis.call('HINCRBY', stats, 'aside_bytes', string.format('%.0f', 0 - aside_bytes))
end
if entered > 0 then
  redis.call('HINCRBY', stats, 'registered', entered)
  redis.call('HINCRBY', stats, 'registered_bytes', string.format('%.0f', entered_bytes))
end
if bytes + entered_bytes ~= 0 then
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', bytes + entered_bytes))
end
if behind_bytes > 0 then
  redis.call('HINCRBY', stats, 'behind_bytes', string.format('%.0f', 0 - behind_bytes))
end
for tag, n in pairs(tag_files) do
  redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', tag_bytes[tag]))
  if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
    redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
  end
end
keep_ages()
keep_lags()
return settled
