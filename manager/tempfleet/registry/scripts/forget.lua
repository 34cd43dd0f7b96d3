--[[
  forget: drop records of a host that does not come back. Its files are not touched.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> +inf, while it has a keeper
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   stats     hash  totals
  KEYS[9]   tags      hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[10]  keepers   zset  keeper -> end ms or +inf
  KEYS[11]  kept      zset  keeper -> 0, in the order of paths
  KEYS[12]  reasons   hash  keeper -> why it keeps the file
  KEYS[13]  meta      hash  schema, last token
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   token     int   the last token when the forgetting began, 0 for none
  ARGV[4]   until_ms  int   when it began: a file registered then or later is newer
  ARGV[5]   all_kept  int   1: also held and quarantined files
  ARGV[6+]  files     1 each: path

  Returns  {code, ...} one for each file, in order: forgotten; leased, held, quarantined, newer, absent: nothing changed;
           later: the call had done enough, so repeat it. 0, and nothing changed, if the last token is another
           one: a process of the host has claimed files or sent a heartbeat since, so the host came back
  Atomic   a path leaves all sets, its record and its keepers together. (A file with more than 1000 keepers loses them
           in several calls, and stays held until the last.)
  Cost     O((files + keepers) * log N), at most about 1000 keepers; removes before it adds.
  Uses     clock, record, totals, failures, keepers, release, schema
]]
if not tonumber(token) or not tonumber(until_ms) then
  return redis.error_reply('ERR a token and a time are numbers')
end
if tonumber(redis.call('HGET', meta, 'token') or 0) ~= tonumber(token) then
  return 0
end

local ended, reply = 0, {}

-- Ends up to 1000 keepers of a file. Returns whether it is held no more.
local function end_keepers(path)
  local found = keepers_of(path)
  for _, keeper in ipairs(found) do
    end_keeper(keeper)
  end
  ended = ended + #found
  return leave_held(path)
end

for i = FIRST, #ARGV do
  local path, code = ARGV[i], 'forgotten'
  local record = redis.call('HGET', records, path)
  local registered, _, size, _, flags, _, tail = parse(record)
  local is_held = redis.call('ZSCORE', held, path)
  if not record then
    code = 'absent'
  elseif redis.call('ZSCORE', leases, path) then
    code = 'leased'
  elseif registered and registered >= tonumber(until_ms) and registered <= now then
    -- a registration later than now was made before Redis's clock stepped back
    code = 'newer'
  elseif all_kept ~= '1' and is_held then
    code = 'held'
  elseif all_kept ~= '1' and has(flags, 'q') then
    code = 'quarantined'
  elseif is_held and (ended >= 1000 or not end_keepers(path)) then
    code = 'later'
  else
    redis.call('ZREM', registry, path)
    redis.call('ZREM', dead, path)
    redis.call('HDEL', records, path)
    forget_failures(path)
    count(-1, size, flags, tail)
    add('forgotten', 1)
  end
  reply[#reply + 1] = code
end
keep_totals()
return reply
