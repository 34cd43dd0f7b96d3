--[[
  unhold: end holds; the files fall due at their own deadlines again.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   held      zset  path -> end of hold ms
  KEYS[3]   records   hash  path -> record
  KEYS[4]   reasons   hash  path -> why it is held
  ARGV[1+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: lifted, unheld (registered, but not held), absent
  Atomic   a path moves from held to registry.
  Cost     O(files * log N); removes before it adds.
]]
local registry, held, records, reasons = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local reply = {}
for i = 1, #ARGV do
  local path, code = ARGV[i], 'lifted'
  local record = redis.call('HGET', records, path)
  if not record then
    code = 'absent'
  elseif redis.call('ZREM', held, path) == 0 then
    code = 'unheld'
  else
    redis.call('HDEL', reasons, path)
    redis.call('ZADD', registry, string.match(record, '^1 %d+ (%d+)') or '0', path)
  end
  reply[#reply + 1] = code
end
return reply
