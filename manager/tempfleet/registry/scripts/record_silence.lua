--[[
  record_silence: record for how long sweeps have seen hosts silent.

  KEYS[1]   silence  hash  host -> for how long, the time of the last look, and the signs of life that it saw
  ARGV[1+]  hosts    2 each: host, value

  Returns  1
  Atomic   one key.
  Cost     O(hosts); removes before it adds, so that hosts are forgotten while Redis is full.
]]
if MORE % 2 ~= 0 then
  return redis.error_reply('ERR a host takes two arguments')
end
for i = FIRST, #ARGV, 2 do
  redis.call('HDEL', silence, ARGV[i])
  redis.call('HSET', silence, ARGV[i], ARGV[i + 1])
end
return 1
