--[[
  opening: opens a new registry; refuses files of another disk than those that it has.

  Needs    records, meta, schema, epoch, disk, found_schema
  Defines  found_disk, open_registry
]]
local found_disk = redis.call('HGET', meta, 'disk')
if disk ~= '' and found_disk and found_disk ~= disk and redis.call('HLEN', records) > 0 then
  return redis.error_reply('DISK ' .. found_disk)
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
