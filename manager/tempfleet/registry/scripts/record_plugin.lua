--[[
  record_plugin: count failures of a plug-in, and record for a while that it is disabled, or that it works.

  KEYS[1]  meta      hash  plugin:<name> -> "<valid until ms> <reason>"
  KEYS[2]  stats     hash  totals
  ARGV[1]  now_ms    int   '' for the server's clock
  ARGV[2]  name      str   the plug-in, or a hook of it
  ARGV[3]  reason    str   why it is disabled; '' if it works
  ARGV[4]  hold_ms   int   how long that is valid
  ARGV[5]  failures  int   since the last call

  Returns  nothing
  Atomic   the field and the count.
  Cost     O(fields of meta), a few; removes expired fields before it adds.
  Uses     number, clock
]]
local hold, failed = tonumber(hold_ms), tonumber(failures)
if not hold or not failed then
  return redis.error_reply('ERR record_plugin takes numbers')
end

local fields = redis.call('HGETALL', meta)
for i = 1, #fields, 2 do
  local ends = string.sub(fields[i], 1, 7) == 'plugin:' and string.match(fields[i + 1], '^%d+')
  if ends and tonumber(ends) <= now then
    redis.call('HDEL', meta, fields[i])
  end
end
if reason == '' then
  redis.call('HDEL', meta, 'plugin:' .. name)
else
  redis.call('HSET', meta, 'plugin:' .. name, whole(now + hold) .. ' ' .. reason)
end
if failed > 0 then
  redis.call('HINCRBY', stats, 'plugin_failed:' .. name, failed)
end
return nil
