--[[
  schema: refuses a registry of another schema, and opens a new registry.

  Needs    records, meta, schema, epoch, disk
  Defines  found_schema, open_registry
]]
local found_schema = redis.call('HGET', meta, 'schema')
if found_schema and found_schema ~= schema then
  return redis.error_reply('SCHEMA ' .. found_schema)
end

-- A new registry gets schema and epoch, an empty one the disk of its files.
local function open_registry()
  if not found_schema then
    redis.call('HSET', meta, 'schema', schema, 'epoch', epoch)
  end
  if disk ~= '' and redis.call('HLEN', records) == 0 then
    redis.call('HSET', meta, 'disk', disk)
  end
end
