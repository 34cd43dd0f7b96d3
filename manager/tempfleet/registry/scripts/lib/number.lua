--[[
  number: numbers as Redis stores them.

  Defines  whole
]]
-- Lua's own conversion to text loses digits after the 14th. A command's argument gets 17 digits, so a number that
-- is an argument needs no conversion.
local function whole(number)
  return string.format('%.0f', number)
end
