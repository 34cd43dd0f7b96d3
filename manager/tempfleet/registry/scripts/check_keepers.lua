--[[
  check_keepers: find damaged keepers.

  KEYS[1]   held     zset  path -> +inf, while it has a keeper
  KEYS[2]   keepers  zset  keeper -> end ms or +inf
  KEYS[3]   kept     zset  keeper -> 0, in the order of paths
  ARGV[1+]  members  1 each: a keeper that was read from keepers or kept

  Returns  {sound, ...} one for each member, in order: 1, or 0 if it is in only one of the two keys, or keeps a file
           that is not held. A keeper that ended meanwhile is sound.
  Atomic   reads only.
  Cost     O(members * log N)
]]
local reply = {}
for i = FIRST, #ARGV do
  local path = string.match(ARGV[i], '^[^%z]*')
  local ends, listed = redis.call('ZSCORE', keepers, ARGV[i]), redis.call('ZSCORE', kept, ARGV[i])
  local sound = (not ends and not listed) or (ends and listed and redis.call('ZSCORE', held, path))
  reply[#reply + 1] = sound and 1 or 0
end
return reply
