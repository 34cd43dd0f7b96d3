--[[
  note: count failures of a plug-in, and say for a while that it is switched off, or that it is well.

  KEYS[1]  meta      hash  plugin:<name> -> "<holds until ms> <what>"
  KEYS[2]  stats     hash  totals
  ARGV[1]  now_ms    int   '' for the server's clock
  ARGV[2]  name      str   the plug-in and what of it
  ARGV[3]  said      str   why it is switched off, '' where it is well
  ARGV[4]  hold_ms   int   how long that holds
  ARGV[5]  failures  int   since the last note

  Returns  nothing
  Atomic   the note and the count.
  Cost     O(fields of meta), a few; notes that hold no more go first.
]]
local meta, stats = KEYS[1], KEYS[2]

local now, hold, failures = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if not hold or not failures then
  return redis.error_reply('ERR a note takes numbers')
end

local fields = redis.call('HGETALL', meta)
for i = 1, #fields, 2 do
  local ends = string.sub(fields[i], 1, 7) == 'plugin:' and string.match(fields[i + 1], '^%d+')
  if ends and tonumber(ends) <= now then
    redis.call('HDEL', meta, fields[i])
  end
end
if ARGV[3] == '' then
  redis.call('HDEL', meta, 'plugin:' .. ARGV[2])
else
  redis.call('HSET', meta, 'plugin:' .. ARGV[2], string.format('%.0f', now + hold) .. ' ' .. ARGV[3])
end
if failures > 0 then
  redis.call('HINCRBY', stats, 'plugin_failed:' .. ARGV[2], failures)
end
return nil
