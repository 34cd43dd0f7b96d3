--[[
  upgrade: migrate a registry from schema 1 to 2: each hold becomes a keeper.

  KEYS[1]   held     zset  path -> end of hold ms or +inf (schema 1), +inf while it has a keeper (schema 2)
  KEYS[2]   keepers  zset  keeper -> end ms or +inf
  KEYS[3]   kept     zset  keeper -> 0, in the order of paths
  KEYS[4]   reasons  hash  path -> why it is held (schema 1), keeper -> why it keeps the file (schema 2)
  KEYS[5]   meta     hash  schema
  ARGV[1]   from     str   the schema to migrate
  ARGV[2]   between  str   the schema during the migration: neither version opens it
  ARGV[3]   to       str   the new schema
  ARGV[4]   name     str   of the keepers
  ARGV[5]   finish   int   1: set the new schema if all holds are migrated
  ARGV[6+]  files    1 each: path, held or kept

  Returns  1 if the registry has the new schema, 0 if not. A file whose hold was migrated by an earlier call does not
           change; a keeper of a file that is not held ends (an old version ended the hold meanwhile).
  Atomic   a file is held before and after.
  Cost     O(files * log N). Its first write adds, so at maxmemory Redis refuses the whole call.
  Uses     keepers, release
]]
local found = redis.call('HGET', meta, 'schema')
if found ~= from and found ~= between then
  return (not found or found == to) and 1 or redis.error_reply('SCHEMA ' .. found)
end
if found == from then
  redis.call('HSET', meta, 'schema', between)
end

local function keep(path, ends)
  local keeper, reason = path .. '\0' .. name, redis.call('HGET', reasons, path)
  redis.call('ZADD', kept, 0, keeper)
  redis.call('ZADD', keepers, ends, keeper)
  redis.call('ZADD', held, '+inf', path)
  if reason then
    redis.call('HDEL', reasons, path)
    redis.call('HSET', reasons, keeper, reason)
  end
end

for i = FIRST, #ARGV do
  local path = ARGV[i]
  local ends, found_keepers = redis.call('ZSCORE', held, path), keepers_of(path)
  if not ends then
    for _, keeper in ipairs(found_keepers) do
      end_keeper(keeper)
    end
  elseif #found_keepers == 0 or ends ~= 'inf' then
    keep(path, ends)
  end
end

if finish ~= '1' or redis.call('ZCARD', held) ~= redis.call('ZCARD', kept) then
  return 0
end
redis.call('HSET', meta, 'schema', to)
return 1
