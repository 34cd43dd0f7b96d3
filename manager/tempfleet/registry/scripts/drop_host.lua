--[[
  drop_host: drop a host from the list of heartbeats, unless it came back.

  KEYS[1]  hosts    zset  host -> last heartbeat ms
  ARGV[1]  host     str
  ARGV[2]  beat_ms  int   its last heartbeat as the caller saw it; '' for none

  Returns  1 if the host is not in the list now; 0, and nothing changed, if it sent a heartbeat since
  Atomic   one key.
  Cost     O(log hosts)
]]
local beat = redis.call('ZSCORE', hosts, host)
if beat and tonumber(beat) ~= tonumber(beat_ms) then
  return 0
end
redis.call('ZREM', hosts, host)
return 1
