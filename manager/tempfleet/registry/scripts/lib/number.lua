--[[
  number: numbers as Redis stores them.

  Defines  whole
]]
-- Lua's own conversion to text loses digits after the 14th.
local function whole(number)
  return string.format('%.0f', number)
end
