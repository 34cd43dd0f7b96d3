--[[
  totals: sums up what this call adds to the totals of the volume and of its tags. keep_totals() writes the sums,
  once, at the end.

  Needs    stats, tags, tags_of, has
  Defines  sums, files_by_tag, bytes_by_tag, add, count_tags, count, keep_totals
]]
local sums, files_by_tag, bytes_by_tag = {}, {}, {}

local function add(total, amount)
  sums[total] = (sums[total] or 0) + amount
end

-- Counts one record that enters (sign 1) or leaves (sign -1) for each of its tags, in the tables *files* and *bytes*.
-- A quarantined file does not count for its tags.
local function count_tags(sign, size, flags, tail, files, bytes)
  if not tail or tail == '' or has(flags, 'q') then
    return
  end
  for tag in tags_of(tail) do
    files[tag] = (files[tag] or 0) + sign
    bytes[tag] = (bytes[tag] or 0) + sign * size
  end
end

-- Counts one record that enters (sign 1) or leaves (sign -1). A damaged record has no size and is not counted.
local function count(sign, size, flags, tail)
  if not size then
    return
  end
  add('bytes', sign * size)
  if has(flags, 'q') then
    add('aside', sign)
    add('aside_bytes', sign * size)
  else
    count_tags(sign, size, flags, tail, files_by_tag, bytes_by_tag)
  end
end

local function keep_totals()
  for total, amount in pairs(sums) do
    if amount ~= 0 then
      redis.call('HINCRBY', stats, total, amount)
    end
  end
  for tag, n in pairs(files_by_tag) do
    if n ~= 0 or bytes_by_tag[tag] ~= 0 then
      redis.call('HINCRBY', tags, 'bytes ' .. tag, bytes_by_tag[tag])
      if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
        redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
      end
    end
  end
end
