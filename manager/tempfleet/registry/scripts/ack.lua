--[[
  ack: delete the records of files that are gone.

  KEYS[1]   registry     zset  path -> deadline ms
  KEYS[2]   leases       zset  path -> token
  KEYS[3]   claims       zset  token -> lease deadline ms
  KEYS[4]   records      hash  path -> record
  KEYS[5]   retries      hash  path -> failed attempts
  KEYS[6]   errors       hash  path -> last error
  KEYS[7]   next         hash  path -> record that waits behind a claim
  KEYS[8]   stats        hash  totals and histogram buckets
  KEYS[9]   tags         hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[10]  meta         hash  slack_ms
  ARGV[1]   now_ms       int   '' for the server's clock
  ARGV[2]   token        int   of the claim
  ARGV[3]   age_bounds   str   upper bounds of the age histogram: seconds, ascending, separated by spaces
  ARGV[4]   lag_bounds   str   the same for the delay after the deadline
  ARGV[5+]  files        3 each: path, outcome (deleted, missing or replaced), freed_bytes

  Returns  the number of settled files; files that are not leased under this token do not change
  Atomic   a path leaves leases and its record together; a file that waited behind it enters the registry.
  Cost     O(files * log N); removes before it adds.
  Uses     clock, slack, record, totals, failures, successor, lease
]]
local claim = tonumber(token)
if not claim or MORE % 3 ~= 0 then
  return redis.error_reply('ERR an ack takes a token, and three arguments for each file')
end
local outcomes = {deleted = true, missing = true, replaced = true}
for i = FIRST, #ARGV, 3 do
  if not outcomes[ARGV[i + 1]] or not tonumber(ARGV[i + 2]) then
    return redis.error_reply('ERR no such outcome: ' .. ARGV[i + 1])
  end
end

-- Adds measurements (ms) to the buckets and the sum of a histogram.
local function add_histogram(name, bounds_text, measurements)
  local bounds, buckets = {}, {}
  for bound in string.gmatch(bounds_text, '%S+') do
    bounds[#bounds + 1] = {le = bound, ms = tonumber(bound) * 1000}
  end
  for _, ms in ipairs(measurements) do
    local le = '+Inf'
    for i = 1, #bounds do
      if ms <= bounds[i].ms then
        le = bounds[i].le
        break
      end
    end
    buckets[le] = (buckets[le] or 0) + 1
    add(name .. '_ms', ms)
  end
  for le, n in pairs(buckets) do
    add(name .. ':' .. le, n)
  end
end

local settled, ages, lags = 0, {}, {}
for i = FIRST, #ARGV, 3 do
  local path, outcome = ARGV[i], ARGV[i + 1]
  if holds(claim, path) then
    settled = settled + 1
    local registered, deadline, size, _, flags, _, tail = parse(redis.call('HGET', records, path))
    redis.call('ZREM', leases, path)
    redis.call('HDEL', records, path)
    forget_failures(path)
    count(-1, size, flags, tail)
    add(outcome, 1)
    if outcome == 'deleted' then
      add('deleted_bytes', tonumber(ARGV[i + 2]))
      if registered then
        ages[#ages + 1] = math.max(now - registered, 0)
        lags[#lags + 1] = math.max(past - deadline, 0)
      end
    end
    succeed(path)
  end
end
end_claim(token)
add_histogram('age', age_bounds, ages)
add_histogram('lag', lag_bounds, lags)
keep_totals()
return settled
