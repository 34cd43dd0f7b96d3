--[[
  take_over: enter records that another registry has, each in the state that it has there.

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
  ARGV[1]   schema    int   refused when the registry has another one
  ARGV[2]   epoch     str   random; kept by the first registration of a registry
  ARGV[3]   disk      str   identity of the base directory, kept while there are files; '' for one who cannot see it
  ARGV[4+]  files     8 each: path, record, its score in registry, held and dead (it is in one of them), attempts,
                      error, reason; '' for what there is not

  Returns  {code, ...} one for each file, in order: entered; known (this registration is here, perhaps renewed since),
           taken (the path has another one here), damaged (nobody can read the record): nothing changed
  Atomic   a path enters one set and the records together. Limits are not asked: these files are on the disk already.
  Cost     O(files * log N). Its first write adds, so under maxmemory it is refused whole.
]]
local registry, held, dead, records = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local retries, errors, reasons = KEYS[5], KEYS[6], KEYS[7]
local stats, meta, tags = KEYS[8], KEYS[9], KEYS[10]

local schema = redis.call('HGET', meta, 'schema')
if schema and schema ~= ARGV[1] then
  return redis.error_reply('SCHEMA ' .. schema)
end
if (#ARGV - 3) % 8 ~= 0 then
  return redis.error_reply('ERR a file takes eight arguments')
end
for i = 4, #ARGV, 8 do
  local found = 0
  for set = 2, 4 do
    found = found + (tonumber(ARGV[i + set]) and 1 or 0)
  end
  if found ~= 1 then
    return redis.error_reply('ERR a file is in exactly one set')
  end
end

if not schema then
  redis.call('HSET', meta, 'schema', ARGV[1], 'epoch', ARGV[2])
end
if ARGV[3] ~= '' and redis.call('HLEN', records) == 0 then
  redis.call('HSET', meta, 'disk', ARGV[3])
end

local tag_files, tag_bytes = {}, {}
local function count_tags(record, n)
  local size, flags, tail = string.match(record, '^1 %d+ %d+ (%d+) %S+ (%S+) [^\n]*\n(.*)$')
  local named = tail and not string.find(flags, 'q', 1, true) and string.match(tail, '"tags": "([^"]*)"')
  for tag in string.gmatch(named or '', '([^,]*),') do
    tag_files[tag] = (tag_files[tag] or 0) + n
    tag_bytes[tag] = (tag_bytes[tag] or 0) + n * tonumber(size)
  end
end

local function registration(record)
  return (string.gsub(record, '^(1 %d+) %d+ %d+ (%S+).*$', '%1 %2'))
end

local reply, entered, bytes, aside, aside_bytes = {}, 0, 0, 0, 0
for i = 4, #ARGV, 8 do
  local path, record, code = ARGV[i], ARGV[i + 1], 'entered'
  local size, flags = string.match(record, '^1 %d+ %d+ (%d+) %S+ (%S+) %S+\n')
  local here = redis.call('HGET', records, path)
  if here then
    code = registration(here) == registration(record) and 'known' or 'taken'
  elseif not size then
    code = 'damaged'
  else
    redis.call('HSET', records, path, record)
    if ARGV[i + 2] ~= '' then
      redis.call('ZADD', registry, ARGV[i + 2], path)
    elseif ARGV[i + 3] ~= '' then
      redis.call('ZADD', held, ARGV[i + 3], path)
    else
      redis.call('ZADD', dead, ARGV[i + 4], path)
    end
    if ARGV[i + 5] ~= '' then
      redis.call('HSET', retries, path, ARGV[i + 5])
    end
    if ARGV[i + 6] ~= '' then
      redis.call('HSET', errors, path, ARGV[i + 6])
    end
    if ARGV[i + 7] ~= '' then
      redis.call('HSET', reasons, path, ARGV[i + 7])
    end
    entered, bytes = entered + 1, bytes + tonumber(size)
    if string.find(flags, 'q', 1, true) then
      aside, aside_bytes = aside + 1, aside_bytes + tonumber(size)
    end
    count_tags(record, 1)
  end
  reply[#reply + 1] = code
end

if entered > 0 then
  redis.call('HINCRBY', stats, 'registered', entered)
  redis.call('HINCRBY', stats, 'registered_bytes', string.format('%.0f', bytes))
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', bytes))
end
if aside > 0 then
  redis.call('HINCRBY', stats, 'aside', aside)
  redis.call('HINCRBY', stats, 'aside_bytes', string.format('%.0f', aside_bytes))
end
for tag, n in pairs(tag_files) do
  redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', tag_bytes[tag]))
  if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
    redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
  end
end
return reply
