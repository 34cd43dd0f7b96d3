--[[
  opening: opens a new registry.

  Needs    records, meta, schema, epoch, disk, found_schema
  Defines  open_registry
]]
-- A new registry gets schema and epoch, an empty one the disk of its files.
local function open_registry()
  if not found_schema then
    redis.call('HSET', meta, 'schema', schema, 'epoch', epoch)
  end
  if disk ~= '' and redis.call('HLEN', records) == 0 then
    redis.call('HSET', meta, 'disk', disk)
  end
end
