--[[
  unregister: take files out of management; the files themselves are not touched.

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
  KEYS[13]  meta      hash  schema, slack_ms
  KEYS[14]  unregistered  zset  path -> ms until when its trace is kept
  KEYS[15]  former    hash  path -> the record that it had
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   total     str   the total that counts them: released, missing or moved_out
  ARGV[4]   until_ms  int   only files registered at or before it; '' for all
  ARGV[5]   with_held int   1: also held files
  ARGV[6]   name      str   with_held does not concern files that another keeper keeps; '' for any keeper
  ARGV[7+]  files     2 each: path, registered_ms as the caller got it when it registered the file, or ''

  Returns  {code, ...} one for each file, in order: released, claimed (its deletion has begun: nothing changed; a dead
           letter and a moved_out file are released all the same), held (nothing changed; only without with_held, or with a name),
           compressed (nothing changed, because its user could not read it; only if total is released), newer
           (registered after until_ms: nothing changed), absent
  Atomic   a path leaves all sets, its record and its keepers together. If total is released, it leaves a trace:
             without an end if a process may have died while it deleted the file (flag r or b, or "not-put-back"), so
               that recovery gives the file back instead of registering it again;
             otherwise until its deadline if the file has another registrant than the caller, so that whoever
               registers it anew shares it (see register.lua).
  Cost     O(files * log N); removes before it adds.
  Uses     clock, slack, record, totals, failures, keepers, release, former, schema
]]
if total ~= 'released' and total ~= 'missing' and total ~= 'moved_out' then
  return redis.error_reply('ERR no such total: ' .. total)
end

if MORE % 2 ~= 0 then
  return redis.error_reply('ERR a file takes two arguments')
end

local before, reply = tonumber(until_ms), {}

-- Whether keepers keep the file that this call does not end.
local function is_kept(path)
  if with_held ~= '1' or name == '' then
    return with_held ~= '1' and redis.call('ZSCORE', held, path)
  end
  for _, keeper in ipairs(keepers_of(path)) do
    if keeper ~= path .. '\0' .. name then
      return true
    end
  end
end

-- When the trace of a file ends; nil if it needs none.
local function end_of_trace(path, registered, deadline, flags, shown)
  if total ~= 'released' or not registered then
    return nil
  elseif has(flags, 'r') or has(flags, 'b') or redis.call('HGET', errors, path) == 'not-put-back' then
    return '+inf'
  elseif deadline > past and (has(flags, 's') or registered ~= tonumber(shown)) then
    return deadline
  end
end

for i = FIRST, #ARGV, 2 do
  local path, code = ARGV[i], nil
  local record = redis.call('HGET', records, path)
  local registered, deadline, size, _, flags, _, tail = parse(record)
  if not record then
    code = 'absent'
  elseif redis.call('ZSCORE', leases, path) then
    code = 'claimed'
  elseif has(flags, 'b') and total ~= 'moved_out' and not redis.call('ZSCORE', dead, path) then
    code = 'claimed'
  elseif before and (registered or 0) > before then
    code = 'newer'
  elseif is_kept(path) then
    code = 'held'
  elseif total == 'released' and has(flags, 'z') and not has(flags, 'q') then
    code = 'compressed'
  else
    code = 'released'
    local ends = end_of_trace(path, registered, deadline, flags, ARGV[i + 1])
    redis.call('ZREM', registry, path)
    while redis.call('ZSCORE', held, path) do
      for _, keeper in ipairs(keepers_of(path)) do
        end_keeper(keeper)
      end
      leave_held(path)
    end
    redis.call('ZREM', dead, path)
    redis.call('HDEL', records, path)
    forget_failures(path)
    count(-1, size, flags, tail)
    add(total, 1)
    if ends then
      leave_trace(path, record, ends)
    end
  end
  reply[#reply + 1] = code
end
keep_totals()
return reply
