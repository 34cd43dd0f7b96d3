--[[
  union: flags and tags of a file that was registered several times.

  Needs    has, tags_of
  Defines  MOST_TAGS, with_flag, united_flags, united_tail
]]
local MOST_TAGS = 32

local function with_flag(flags, flag)
  if has(flags, flag) then
    return flags
  end
  return (flags == '-' and '' or flags) .. flag
end

-- Returns the flags of a registered file that is registered again.
local function united_flags(old_identity, old, new)
  local flags = string.gsub(old, '[piu]', '')
  flags = flags == '' and '-' or flags
  -- compressed only if every registrant asked for it, because the others could not read it
  if has(old, 'p') and has(new, 'p') then
    flags = with_flag(flags, 'p')
  end
  -- a created file needs no verification, because its name is never used twice
  local is_created = old_identity == '-' and not has(old, 'u')
  if has(new, 'u') and not is_created then
    flags = with_flag(flags, 'u')
  end
  return flags
end

-- Returns a tail with the tags of both; nil if the file would get more than MOST_TAGS.
local function united_tail(old, new)
  if new == '' or new == old then
    return old
  end
  local text, is_known, n, before = '', {}, 0, 0
  for _, tail in ipairs({old, new}) do
    before = n
    for tag in tags_of(tail) do
      if not is_known[tag] then
        text, is_known[tag], n = text .. tag .. ',', true, n + 1
      end
    end
  end
  if n > MOST_TAGS and n > before then
    return nil
  end
  return '{"tags": "' .. text .. '"}'
end
