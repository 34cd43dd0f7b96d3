--[[
  disk: refuses a process that sees another base directory than the one of the files.

  Needs    records, meta, disk
  Defines  found_disk
]]
local found_disk = redis.call('HGET', meta, 'disk')
if disk ~= '' and found_disk and found_disk ~= disk and redis.call('HLEN', records) > 0 then
  return redis.error_reply('DISK ' .. found_disk)
end
