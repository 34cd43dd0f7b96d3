--[[
  drop_trace: forget that a file was unregistered.

  KEYS[1]  unregistered  zset  path -> ms until when its trace is kept
  KEYS[2]  former        hash  path -> the record that it had
  ARGV[1]  path          str
  ARGV[2]  deadline_ms   int   of the record; another trace of the path stays

  Returns  1, or 0 if there is no such trace
  Atomic   both go together
  Cost     O(log N)
  Uses     deadline
]]
if deadline_of(redis.call('HGET', former, path)) ~= deadline_ms then
  return 0
end
redis.call('ZREM', unregistered, path)
redis.call('HDEL', former, path)
return 1
