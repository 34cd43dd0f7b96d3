--[[
  record_rejected: record for people that messages were thrown away, why, and when the last was.

  KEYS[1]  rejected  hash  <reason> -> "<last ms> <count>"
  ARGV[1]  now_ms    int   '' for the server's clock
  ARGV[2]  quiet_ms  int   a count begins anew if its last message is older
  ARGV[3+] reasons   2 each: reason, count

  Returns  nothing
  Atomic   one key.
  Cost     O(reasons). Reasons are names of errors, so there are a few.
  Uses     number, clock
]]
local quiet = tonumber(quiet_ms)
if not quiet or MORE % 2 ~= 0 then
  return redis.error_reply('ERR record_rejected takes a number, and two arguments for a reason')
end
for i = FIRST, #ARGV, 2 do
  local last, count = string.match(redis.call('HGET', rejected, ARGV[i]) or '', '^(%d+) (%d+)$')
  local total = tonumber(ARGV[i + 1])
  if last and now - tonumber(last) < quiet then
    total = total + tonumber(count)
  end
  redis.call('HSET', rejected, ARGV[i], whole(now) .. ' ' .. whole(total))
end
return nil
