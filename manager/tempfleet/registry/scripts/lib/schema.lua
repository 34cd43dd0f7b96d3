--[[
  schema: refuses a registry of another schema.

  Needs    meta, schema
  Defines  found_schema
]]
local found_schema = redis.call('HGET', meta, 'schema')
if found_schema and found_schema ~= schema then
  return redis.error_reply('SCHEMA ' .. found_schema)
end
