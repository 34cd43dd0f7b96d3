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
  ARGV[6+]  files     1 each: path, none twice, at most 1000

  Returns  {code, ...} one for each file, in order: forgotten; leased, held, quarantined, newer, absent: nothing changed;
           later: the call had done enough, so repeat it. 0, and nothing changed, if the last token is another
           one: a process of the host has claimed files or sent a heartbeat since, so the host came back
  Atomic   a path leaves all sets, its record and its keepers together. (A file with more than 1000 keepers loses them
           in several calls, and stays held until the last.)
  Cost     O((files + keepers) * log N), at most about 1000 keepers; removes before it adds.
  Uses     clock, record, totals, failures, keepers, release, schema
]]
if not tonumber(token) or not tonumber(until_ms) or MORE > 1000 then
  return redis.error_reply('ERR a token and a time are numbers, and a step is at most 1000 files')
end
if tonumber(redis.call('HGET', meta, 'token') or 0) ~= tonumber(token) then
  return 0
end

-- Most volumes have none of these. Then no file costs a call.
local any_leased = redis.call('ZCARD', leases) > 0
local any_held = redis.call('ZCARD', held) > 0
local any_dead = redis.call('ZCARD', dead) > 0
local ended, gone, reply = 0, {}, {}

-- Ends up to 1000 keepers of a file. Returns whether it is held no more.
local function end_keepers(path)
  local found = keepers_of(path)
  for _, keeper in ipairs(found) do
    end_keeper(keeper)
  end
  ended = ended + #found
  return leave_held(path)
end

local function code_of(path, record, registered, flags)
  local is_held = any_held and redis.call('ZSCORE', held, path)
  if not record then
    return 'absent'
  elseif any_leased and redis.call('ZSCORE', leases, path) then
    return 'leased'
  elseif registered and registered >= tonumber(until_ms) and registered <= now then
    -- a registration later than now was made before Redis's clock stepped back
    return 'newer'
  elseif all_kept ~= '1' and is_held then
    return 'held'
  elseif all_kept ~= '1' and has(flags, 'q') then
    return 'quarantined'
  elseif is_held and (ended >= 1000 or not end_keepers(path)) then
    return 'later'
  end
  return 'forgotten'
end

local found = MORE > 0 and redis.call('HMGET', records, unpack(ARGV, FIRST)) or {}
for i, record in ipairs(found) do
  local path = ARGV[FIRST + i - 1]
  local registered, _, size, _, flags, _, tail = parse(record)
  local code = code_of(path, record, registered, flags)
  if code == 'forgotten' then
    gone[#gone + 1] = path
    forget_failures(path)
    count(-1, size, flags, tail)
    add('forgotten', 1)
  end
  reply[#reply + 1] = code
end
if #gone > 0 then
  redis.call('ZREM', registry, unpack(gone))
  if any_dead then
    redis.call('ZREM', dead, unpack(gone))
  end
  redis.call('HDEL', records, unpack(gone))
end
keep_totals()
return reply
