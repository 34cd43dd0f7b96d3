--[[
  revive: return dead letters to the registry; they are due at once, without failed attempts.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   dead      zset  path -> buried at ms
  KEYS[3]   retries   hash  path -> failed attempts
  KEYS[4]   errors    hash  path -> last error
  KEYS[5]   meta      hash  schema, slack_ms
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: revived, absent (not a dead letter)
  Atomic   a path moves from dead to registry.
  Cost     O(files * log N); removes before it adds.
  Uses     number, clock, slack, failures, schema
]]
local past_text, reply = whole(past), {}
for i = FIRST, #ARGV do
  local path, code = ARGV[i], 'absent'
  if redis.call('ZREM', dead, path) == 1 then
    code = 'revived'
    forget_failures(path)
    redis.call('ZADD', registry, past_text, path)
  end
  reply[#reply + 1] = code
end
return reply
