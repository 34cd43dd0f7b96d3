--[[
  inside: what the registry promised about the paths in a directory that is about to be deleted.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> +inf, while it has a keeper
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   keepers   zset  keeper -> end ms or +inf
  KEYS[7]   kept      zset  keeper -> 0, in the order of paths
  KEYS[8]   meta      hash  schema, slack_ms, jumped_ms, pause
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   latest_ms int   see lib/horizon.lua; '' if the caller does not know it
  ARGV[4]   expected_ms int  the same
  ARGV[5+]  files     1 each: path

  Returns  {now_ms, index, kind, until_ms, ...} three values for each registered file, in order: which of the
           paths it is, from 0; what is the matter with it; and when that ends, '' if that is unknown:
             due       nothing: it waits, and a claim would take it
             promised  it waits, and is not due yet; or it is a dead letter before its deadline
             held      it is held
             ended     its holds have ended, and so has its deadline
             claimed   it is being deleted
             dead      it is a dead letter after its deadline
  Atomic   reads only
  Cost     O(files + keepers * log N), one command for those that are not registered
  Uses     number, clock, slack, jumped, pause, horizon, deadline, keepers, schema
]]
local reply = {whole(now)}
if MORE == 0 then
  return reply
end

-- Returns kind and end of what is registered at *path*.
local function look(path, record)
  local deadline = tonumber(deadline_of(record)) or 0
  local due = redis.call('ZSCORE', registry, path)
  if due then
    due = tonumber(due)
    return due <= horizon and 'due' or 'promised', due
  end
  if redis.call('ZSCORE', leases, path) then
    return 'claimed'
  end
  if redis.call('ZSCORE', held, path) then
    local _, ends = latest_keeper(path)
    if ends == '+inf' then
      return 'held'
    elseif tonumber(ends) > horizon then
      return 'held', math.max(tonumber(ends), deadline)
    end
  end
  if deadline > horizon then
    return 'promised', deadline
  end
  return redis.call('ZSCORE', dead, path) and 'dead' or 'ended'
end

for from = FIRST, #ARGV, 1000 do
  local found = redis.call('HMGET', records, unpack(ARGV, from, math.min(from + 999, #ARGV)))
  for i, record in ipairs(found) do
    if record then
      local n = #reply
      local at = from + i - 1
      local kind, ends = look(ARGV[at], record)
      reply[n + 1], reply[n + 2], reply[n + 3] = at - FIRST, kind, ends and whole(ends) or ''
    end
  end
end
return reply
