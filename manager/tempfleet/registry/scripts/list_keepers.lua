--[[
  list_keepers: read who keeps a file, page by page.

  KEYS[1]  keepers  zset  keeper -> end ms or +inf
  KEYS[2]  kept     zset  keeper -> 0, in the order of paths
  KEYS[3]  reasons  hash  keeper -> why it keeps the file
  ARGV[1]  path     str
  ARGV[2]  after    str   the last name of the page before; '' for the first page

  Returns  {name, end_ms, reason, ...} three for each of up to 1000 keepers, in the order of their names; end_ms is
           'inf' for no end, reason '' for none
  Atomic   reads only.
  Cost     O(log N + 1000)
]]
local start = path .. '\0'
local from = after == '' and '[' .. start or '(' .. start .. after
local found = redis.call('ZRANGEBYLEX', kept, from, '(' .. path .. '\1', 'LIMIT', 0, 1000)

local reply = {}
for i = 1, #found do
  reply[3 * i - 2] = string.sub(found[i], #start + 1)
  reply[3 * i - 1] = redis.call('ZSCORE', keepers, found[i]) or ''
  reply[3 * i] = redis.call('HGET', reasons, found[i]) or ''
end
return reply
