--[[
  sharing: sets the flag s of a record if another registrant renews or holds its file.

  Defines  shared_unless
]]
-- Returns the record, with the flag s unless the caller shows (*shown*, as text) when it registered the file.
local function shared_unless(record, shown)
  local registered, flags = string.match(record, '^1 (%d+) %d+ %d+ %S+ (%S+)')
  if not registered or registered == shown or string.find(flags, 's', 1, true) then
    return record
  end
  flags = flags == '-' and 's' or flags .. 's'
  return (string.gsub(record, '^(1 %d+ %d+ %d+ %S+) %S+', '%1 ' .. flags))
end
