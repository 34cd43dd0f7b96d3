--[[
  mark: raise the last token without a claim, so that a Redis with older data shows an older one. A renewal or a hold
  changes no token; so without marks the loss of one would not be noticed.

  KEYS[1]  meta    hash  last token, epoch
  ARGV[1]  now_ms  int   '' for the server's clock

  Returns  the new last token, 0 if there is no registry: nothing changed
  Atomic   one key; the token grows.
  Cost     O(1); removes before it adds, so that it works while Redis is full.
  Uses     number, clock
]]
if not redis.call('HGET', meta, 'epoch') then
  return '0'
end
local token = whole(math.max(tonumber(redis.call('HGET', meta, 'token') or 0) + 1, now_us))
redis.call('HDEL', meta, 'token')
redis.call('HSET', meta, 'token', token)
return token
