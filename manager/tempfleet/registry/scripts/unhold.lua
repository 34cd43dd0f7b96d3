--[[
  unhold: end holds; the files are due at their own deadlines again.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   held      zset  path -> end of hold ms
  KEYS[3]   records   hash  path -> record
  KEYS[4]   reasons   hash  path -> why it is held
  ARGV[1+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: lifted, unheld (registered, but not held), absent
  Atomic   a path moves from held to registry.
  Cost     O(files * log N); removes before it adds.
  Uses     deadline
]]
local reply = {}
for i = FIRST, #ARGV do
  local path, code = ARGV[i], nil
  local record = redis.call('HGET', records, path)
  if not record then
    code = 'absent'
  elseif redis.call('ZREM', held, path) == 0 then
    code = 'unheld'
  else
    code = 'lifted'
    redis.call('HDEL', reasons, path)
    redis.call('ZADD', registry, deadline_of(record) or '0', path)
  end
  reply[#reply + 1] = code
end
return reply
