--[[
  heartbeat: record that a host has a live worker.

  KEYS[1]  hosts   zset  host -> last heartbeat ms
  ARGV[1]  now_ms  int   '' for the server's clock
  ARGV[2]  host    str

  Returns  {now_ms, the heartbeat before it, '' for none}
  Atomic   one key.
  Cost     O(log hosts); removes before it adds, so that a host stays live while Redis is full.
  Uses     number, clock
]]
local now_text, before = whole(now), redis.call('ZSCORE', hosts, host)
redis.call('ZREM', hosts, host)
redis.call('ZADD', hosts, now_text, host)
return {now_text, before or ''}
