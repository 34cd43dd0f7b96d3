--[[
  record: reads and writes records. Only record, deadline and sharing know their form:

    1 <registered_ms> <deadline_ms> <size_bytes> <identity> <flags> <uid>\n<tail>

  Defines  parse, record_of, tags_of, has
]]
-- Returns the seven fields; nothing if there is no record or it is damaged.
local function parse(record)
  local registered, deadline, size, identity, flags, uid, tail =
    string.match(record or '', '^1 (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)\n(.*)$')
  return tonumber(registered), tonumber(deadline), tonumber(size), identity, flags, uid, tail
end

local function record_of(registered, deadline, size, identity, flags, uid, tail)
  return string.format('1 %.0f %.0f %.0f ', registered, deadline, size)
    .. identity .. ' ' .. flags .. ' ' .. uid .. '\n' .. tail
end

-- Iterates over the tags in a tail, percent-encoded.
local function tags_of(tail)
  return string.gmatch(string.match(tail, '"tags": "([^"]*)"') or '', '([^,]*),')
end

local function has(text, part)
  return text ~= nil and string.find(text, part, 1, true) ~= nil
end
