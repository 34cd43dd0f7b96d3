--[[
  take_over: enter records of another registry, each in the state that it has there.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   held      zset  path -> +inf, while it has a keeper
  KEYS[3]   dead      zset  path -> buried at ms
  KEYS[4]   records   hash  path -> record
  KEYS[5]   retries   hash  path -> failed attempts
  KEYS[6]   errors    hash  path -> last error
  KEYS[7]   keepers   zset  keeper -> end ms or +inf
  KEYS[8]   kept      zset  keeper -> 0, in the order of paths
  KEYS[9]   reasons   hash  keeper -> why it keeps the file
  KEYS[10]  stats     hash  totals
  KEYS[11]  meta      hash  schema, epoch, disk, disks
  KEYS[12]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]   schema    int   refused if the registry has another one
  ARGV[2]   epoch     str   random; kept by the first registration of a registry
  ARGV[3]   disk      str   identity of the base directory, kept while there are files; '' if the caller cannot see it
  ARGV[4]   disks     str   identities of the other roots of the files, see lib/opening.lua; '' for none
  ARGV[5+]  files     7 each, and 3 for each keeper: path, record, its score in registry and dead, attempts, error
                      ('' for what is absent), number of keepers; then name, end_ms ('inf' for none), reason. A file
                      is in registry, or in dead, or has keepers

  Returns  {code, ...} one for each file, in order: entered; known (this registration is here, perhaps
           renewed since), taken (the path has another one here), damaged (the record is not readable): nothing changed
  Atomic   a path enters one set and the records together, with its keepers. Limits do not apply, because these files are on the
           disk already.
  Cost     O((files + keepers) * log N). Its first write adds, so at maxmemory Redis refuses the whole call.
  Uses     record, totals, schema, disk, opening
]]
-- where the arguments of each file start
local starts, at = {}, FIRST
while at <= #ARGV do
  local n = tonumber(ARGV[at + 6])
  local sets = (tonumber(ARGV[at + 2]) and 1 or 0) + (tonumber(ARGV[at + 3]) and 1 or 0)
  if not n or sets + math.min(n, 1) ~= 1 then
    return redis.error_reply('ERR a file is in exactly one set')
  end
  for ends = at + 8, at + 6 + 3 * n, 3 do
    if ARGV[ends] ~= 'inf' and not tonumber(ARGV[ends]) then
      return redis.error_reply('ERR times are numbers')
    end
  end
  starts[#starts + 1] = at
  at = at + 7 + 3 * n
end
if at ~= #ARGV + 1 then
  return redis.error_reply('ERR a file takes seven arguments, and three for each keeper')
end
open_registry()

-- Adds the keepers of a file, whose arguments start at ARGV[first].
local function add_keepers(path, first, last)
  for i = first, last, 3 do
    local keeper = path .. '\0' .. ARGV[i]
    redis.call('ZADD', held, '+inf', path)
    redis.call('ZADD', kept, 0, keeper)
    redis.call('ZADD', keepers, ARGV[i + 1], keeper)
    if ARGV[i + 2] ~= '' then
      redis.call('HSET', reasons, keeper, ARGV[i + 2])
    end
  end
end

local function is_same(here, record)
  local registered, _, _, identity = parse(here)
  local other_registered, _, _, other_identity = parse(record)
  return here == record or (registered and registered == other_registered and identity == other_identity)
end

local reply = {}
for _, i in ipairs(starts) do
  local path, record, code = ARGV[i], ARGV[i + 1], 'entered'
  local _, _, size, _, flags, _, tail = parse(record)
  local here = redis.call('HGET', records, path)
  if here then
    code = is_same(here, record) and 'known' or 'taken'
  elseif not size then
    code = 'damaged'
  else
    redis.call('HSET', records, path, record)
    for n, key in ipairs({registry, dead}) do
      if ARGV[i + 1 + n] ~= '' then
        redis.call('ZADD', key, ARGV[i + 1 + n], path)
      end
    end
    for n, key in ipairs({retries, errors}) do
      if ARGV[i + 3 + n] ~= '' then
        redis.call('HSET', key, path, ARGV[i + 3 + n])
      end
    end
    add_keepers(path, i + 7, i + 6 + 3 * ARGV[i + 6])
    count(1, size, flags, tail)
    add('registered', 1)
    add('registered_bytes', size)
  end
  reply[#reply + 1] = code
end
keep_totals()
return reply
