--[[
  deadline: reads and changes the deadline in a record (see record.lua). Parsing all fields costs three times as much.

  Defines  deadline_of, with_deadline
]]
-- Returns the deadline as text; nil if there is no record or it is damaged.
local function deadline_of(record)
  return string.match(record or '', '^1 %d+ (%d+)')
end

local function with_deadline(record, deadline)
  return (string.gsub(record, '^(1 %d+) %d+', string.format('%%1 %.0f', deadline)))
end
