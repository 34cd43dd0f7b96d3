--[[
  renew: move the deadlines of registered files later, never earlier.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   records   hash  path -> record
  KEYS[4]   meta      hash  schema
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3+]  files     3 each: path, ttl_ms, registered_ms as the caller got it when it registered the file, or ''

  Returns  {code, deadline_ms, ...} two for each file, in order; the code is
             renewed  its deadline is now + ttl_ms, or its old deadline if that is later
             claimed  it is being deleted, or that has begun and was interrupted: nothing changed
             absent   it is not registered
  Atomic   no path moves; a held or dead file stays in its set and gets the new deadline. Its record gets the flag s
           unless the caller registered it last.
  Cost     O(files * log N); removes before it adds, so that a file can be renewed while Redis is full.
  Uses     number, clock, deadline, begun, sharing, schema
]]
if MORE % 3 ~= 0 then
  return redis.error_reply('ERR a file takes three arguments')
end
for i = FIRST, #ARGV, 3 do
  if not tonumber(ARGV[i + 1]) then
    return redis.error_reply('ERR times are numbers')
  end
end

local reply = {}
for i = FIRST, #ARGV, 3 do
  local path, deadline, code = ARGV[i], now + tonumber(ARGV[i + 1]), 'renewed'
  local record = redis.call('HGET', records, path)
  if not record then
    code = 'absent'
  elseif is_being_deleted(path, record) then
    code = 'claimed'
  else
    deadline = math.max(deadline, tonumber(deadline_of(record)))
    local score = redis.call('ZSCORE', registry, path)
    redis.call('ZREM', registry, path)
    redis.call('HSET', records, path, with_deadline(shared_unless(record, ARGV[i + 2]), deadline))
    if score then
      redis.call('ZADD', registry, math.max(tonumber(score), deadline), path)
    end
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = whole(deadline)
end
return reply
