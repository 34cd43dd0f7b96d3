--[[
  take_over: enter records of another registry, each in the state that it has there.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   held      zset  path -> end of hold ms
  KEYS[3]   dead      zset  path -> buried at ms
  KEYS[4]   records   hash  path -> record
  KEYS[5]   retries   hash  path -> failed attempts
  KEYS[6]   errors    hash  path -> last error
  KEYS[7]   reasons   hash  path -> why it is held
  KEYS[8]   stats     hash  totals
  KEYS[9]   meta      hash  schema, epoch, disk
  KEYS[10]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]   schema    int   refused if the registry has another one
  ARGV[2]   epoch     str   random; kept by the first registration of a registry
  ARGV[3]   disk      str   identity of the base directory, kept while there are files; '' if the caller cannot see it
  ARGV[4+]  files     8 each: path, record, its score in registry, held and dead (it is in one of them), attempts,
                      error, reason; '' for what is absent

  Returns  {code, ...} one for each file, in order: entered; known (this registration is here, perhaps
           renewed since), taken (the path has another one here), damaged (the record is not readable): nothing changed
  Atomic   a path enters one set and the records together. Limits do not apply, because these files are on the
           disk already.
  Cost     O(files * log N). Its first write adds, so at maxmemory Redis refuses the whole call.
  Uses     record, totals, schema
]]
if MORE % 8 ~= 0 then
  return redis.error_reply('ERR a file takes eight arguments')
end
for i = FIRST, #ARGV, 8 do
  local sets = 0
  for at = i + 2, i + 4 do
    sets = sets + (tonumber(ARGV[at]) and 1 or 0)
  end
  if sets ~= 1 then
    return redis.error_reply('ERR a file is in exactly one set')
  end
end
open_registry()

local function is_same(here, record)
  local registered, _, _, identity = parse(here)
  local other_registered, _, _, other_identity = parse(record)
  return here == record or (registered and registered == other_registered and identity == other_identity)
end

local reply = {}
for i = FIRST, #ARGV, 8 do
  local path, record, code = ARGV[i], ARGV[i + 1], 'entered'
  local _, _, size, _, flags, _, tail = parse(record)
  local here = redis.call('HGET', records, path)
  if here then
    code = is_same(here, record) and 'known' or 'taken'
  elseif not size then
    code = 'damaged'
  else
    redis.call('HSET', records, path, record)
    for n, key in ipairs({registry, held, dead}) do
      if ARGV[i + 1 + n] ~= '' then
        redis.call('ZADD', key, ARGV[i + 1 + n], path)
      end
    end
    for n, key in ipairs({retries, errors, reasons}) do
      if ARGV[i + 4 + n] ~= '' then
        redis.call('HSET', key, path, ARGV[i + 4 + n])
      end
    end
    count(1, size, flags, tail)
    add('registered', 1)
    add('registered_bytes', size)
  end
  reply[#reply + 1] = code
end
keep_totals()
return reply
