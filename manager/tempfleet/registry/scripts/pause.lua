--[[
  pause: let no deadline pass for a while.

  KEYS[1]  meta        hash  pause -> "<from ms> <until ms> <reason>", jumped_ms, epoch, last token
  ARGV[1]  now_ms      int   '' for the server's clock
  ARGV[2]  pause_ms    int   how long
  ARGV[3]  reason      str   ahead: Redis's clock is ahead of a host that starts for the first time
                             older: Redis has less than it had before
  ARGV[4]  last_token  int   the last token that the caller knows
  ARGV[5]  again_ms    int   for so long after its end, a pause is not repeated for the same reason

  Returns  1, or 0 if nothing changed: such a pause was made not long ago, or there is no registry to be ahead of
  Atomic   one key.
  Cost     O(1); removes before it adds. Afterwards no process knows a later token, so one loss makes one pause.
  Uses     number, clock, jumped, pause
]]
local ms, last, again = tonumber(pause_ms), tonumber(last_token), tonumber(again_ms)
if not (ms and last and again) or not (reason == 'ahead' or reason == 'older') then
  return redis.error_reply('ERR a pause takes numbers, and ahead or older')
end
if reason == 'ahead' and not redis.call('HGET', meta, 'epoch') then
  return 0
end
local token = tonumber(redis.call('HGET', meta, 'token') or 0)
local steady = now - jumped
local is_recent = pause_from and steady >= tonumber(pause_from) and steady < tonumber(pause_until) + again
if is_recent and pause_reason == reason and token >= last then
  return 0
end

redis.call('HDEL', meta, 'pause')
redis.call('HSET', meta, 'pause', whole(steady) .. ' ' .. whole(steady + ms) .. ' ' .. reason)
if reason == 'older' then
  redis.call('HSET', meta, 'token', whole(math.max(token, last, now_us)))
end
return 1
