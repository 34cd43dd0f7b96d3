--[[
  renew: move the deadlines of known files later, never earlier.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   records   hash  path -> record
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2+]  files     2 each: path, ttl_ms

  Returns  {code, deadline_ms, ...} two for each file, in order; the code is
             renewed  its deadline is now + ttl_ms, or later where it was later
             claimed  it is being deleted: nothing changed
             absent   it is not registered
  Atomic   membership does not change; a held or dead file keeps its place and gets the new deadline.
  Cost     O(files * log N)
]]
local registry, leases, records = KEYS[1], KEYS[2], KEYS[3]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if (#ARGV - 1) % 2 ~= 0 then
  return redis.error_reply('ERR a file takes two arguments')
end
for i = 2, #ARGV, 2 do
  if not tonumber(ARGV[i + 1]) then
    return redis.error_reply('ERR times are numbers')
  end
end

local reply = {}
for i = 2, #ARGV, 2 do
  local path, deadline, code = ARGV[i], now + tonumber(ARGV[i + 1]), 'renewed'
  local record = redis.call('HGET', records, path)
  if not record then
    code = 'absent'
  elseif redis.call('ZSCORE', leases, path) then
    code = 'claimed'
  else
    local head, old_deadline, rest = string.match(record, '^(1 %d+) (%d+)(.*)$')
    deadline = math.max(deadline, tonumber(old_deadline))
    redis.call('HSET', records, path, head .. string.format(' %.0f', deadline) .. rest)
    local score = redis.call('ZSCORE', registry, path)
    if score and tonumber(score) < deadline then
      redis.call('ZADD', registry, string.format('%.0f', deadline), path)
    end
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = string.format('%.0f', deadline)
end
return reply
