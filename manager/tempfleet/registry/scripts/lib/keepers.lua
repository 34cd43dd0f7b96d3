--[[
  keepers: who keeps a file, and until when. A keeper is the member "<path> NUL <name>" of both keepers and kept.

  Needs    keepers, kept
  Defines  keepers_of, latest_keeper
]]
-- Returns up to 1000 keepers of a file, in the order of their names. A path contains no NUL.
local function keepers_of(path)
  return redis.call('ZRANGEBYLEX', kept, '[' .. path .. '\0', '(' .. path .. '\1', 'LIMIT', 0, 1000)
end

-- Returns the number of a file's keepers, when the last one ends ('+inf' for never), and that keeper. If there are
-- 1000 or more, not all are read, and the end is '+inf'.
local function latest_keeper(path)
  local found = keepers_of(path)
  local latest, keeper = 0, found[1]
  for i = 1, #found do
    local ends = redis.call('ZSCORE', keepers, found[i])
    if ends == 'inf' then
      return #found, '+inf', found[i]
    end
    if ends and tonumber(ends) > latest then
      latest, keeper = tonumber(ends), found[i]
    end
  end
  return #found, latest > 0 and #found < 1000 and string.format('%.0f', latest) or '+inf', keeper
end
