--[[
  opening: opens a new registry; refuses files of other disks than those that it has.

  The field disks of meta has a line for each root, except the base directory, that files were registered in: the
  quoted path, a space, the identity.

  Needs    records, meta, schema, epoch, disk, disks, found_schema
  Defines  found_disk, found_disks, new_disks, open_registry
]]
local found_disk = redis.call('HGET', meta, 'disk')
local found_disks = redis.call('HGET', meta, 'disks') or ''
-- The lines of roots that no file was registered in before.
local new_disks = ''
if disk ~= '' and found_disk and found_disk ~= disk and redis.call('HLEN', records) > 0 then
  return redis.error_reply('DISK ' .. found_disk)
end
for root, identity in string.gmatch(disks, '(%S+) (%S+)') do
  local found = string.match('\n' .. found_disks, '\n' .. string.gsub(root, '%p', '%%%0') .. ' (%S+)')
  if not found then
    new_disks = new_disks .. root .. ' ' .. identity .. '\n'
  elseif found ~= identity and redis.call('HLEN', records) > 0 then
    return redis.error_reply('DISK ' .. found)
  end
end

-- A new registry gets schema and epoch, an empty one the disks of its files.
local function open_registry()
  if not found_schema then
    redis.call('HSET', meta, 'schema', schema, 'epoch', epoch)
  end
  if disk ~= '' and redis.call('HLEN', records) == 0 then
    redis.call('HSET', meta, 'disk', disk, 'disks', disks)
  elseif new_disks ~= '' then
    redis.call('HSET', meta, 'disks', found_disks .. new_disks)
  end
end
