--[[
  register: promise a deadline for files; enter them, or renew the promise of those already known.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> end of hold ms
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals
  KEYS[10]  meta      hash  schema, epoch, disk
  KEYS[11]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused when the registry has another one
  ARGV[3]   epoch     str   random; kept by the first registration of a registry
  ARGV[4]   disk      str   identity of the base directory, kept while there are files; '' for one who cannot see it
  ARGV[5]   files     int   limits, '' for none: files of the volume,
  ARGV[6]   bytes     int   their size,
  ARGV[7]   tag_files int   files of one tag,
  ARGV[8]   tag_bytes int   their size; the quarantine does not count, what waits in next does
  ARGV[9+]  more      8 each: path, ttl_ms, age_ms, size_bytes, identity, flags, uid, tail

  Returns  {code, registered_ms, deadline_ms, ...} three for each file, in order; the code is
             new      it entered from nowhere
             again    the same file: the later deadline wins, its age restarts. Also the unseen one (flag u):
                      who cannot see the file may not replace what is known of it
             swapped  another file has the name: its record replaces the old one
             behind   another file, while the old one is being deleted: it waits in next
             claimed  the same file, or an unseen one, while it is being deleted: nothing changed
             over:<limit>[:<tag>]  a total that is at its limit would have grown: nothing changed
  Atomic   a path is in exactly one of registry / leases / held / dead, before and after.
  Cost     O(files * log N). Its first write adds, so under maxmemory it is refused whole.
]]
local registry, leases, held, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local records, retries, errors, next_ = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local stats, meta, tags = KEYS[9], KEYS[10], KEYS[11]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local schema = redis.call('HGET', meta, 'schema')
if schema and schema ~= ARGV[2] then
  return redis.error_reply('SCHEMA ' .. schema)
end
if (#ARGV - 8) % 8 ~= 0 then
  return redis.error_reply('ERR a file takes eight arguments')
end
for i = 9, #ARGV, 8 do
  if not (tonumber(ARGV[i + 1]) and tonumber(ARGV[i + 2]) and tonumber(ARGV[i + 3])) then
    return redis.error_reply('ERR times and sizes are numbers')
  end
end

if not schema then
  redis.call('HSET', meta, 'schema', ARGV[2], 'epoch', ARGV[3])
end
if ARGV[4] ~= '' and redis.call('HLEN', records) == 0 then
  redis.call('HSET', meta, 'disk', ARGV[4])
end

local any_leased = redis.call('ZCARD', leases) > 0
local any_held = redis.call('ZCARD', held) > 0
local any_dead = redis.call('ZCARD', dead) > 0
local any_failed = redis.call('HLEN', retries) + redis.call('HLEN', errors) > 0
local entered, entered_bytes, bytes, behind_bytes = 0, 0, 0, 0
local aside, aside_bytes = 0, 0
local reply = {}

local tag_files, tag_bytes = {}, {}
local function count_tags(record, n)
  local size, flags, tail = string.match(record, '^1 %d+ %d+ (%d+) %S+ (%S+) [^\n]*\n(.*)$')
  local named = tail and not string.find(flags, 'q', 1, true) and string.match(tail, '"tags": "([^"]*)"')
  for tag in string.gmatch(named or '', '([^,]*),') do
    tag_files[tag] = (tag_files[tag] or 0) + n
    tag_bytes[tag] = (tag_bytes[tag] or 0) + n * tonumber(size)
  end
end

local most = {
  files = tonumber(ARGV[5]), bytes = tonumber(ARGV[6]),
  tag_files = tonumber(ARGV[7]), tag_bytes = tonumber(ARGV[8]),
}
local files_before, bytes_before = 0, 0
if most.files or most.bytes then
  local known = redis.call('HMGET', stats, 'bytes', 'behind_bytes', 'aside', 'aside_bytes')
  files_before = redis.call('HLEN', records) - tonumber(known[3] or 0)
  bytes_before = tonumber(known[1] or 0) + tonumber(known[2] or 0) - tonumber(known[4] or 0)
end

local function over(limit, before, growth)
  return most[limit] and growth > 0 and before + growth > most[limit]
end

-- The limit that replacing the record *gone* ('' for none) by *come* would break, or nil; counts both.
local function broken(come, gone, files_growth)
  local come_size = tonumber(string.match(come, '^1 %d+ %d+ (%d+)'))
  local gone_size = tonumber(string.match(gone, '^1 %d+ %d+ (%d+)') or 0)
  local old_files, old_bytes = tag_files, tag_bytes
  tag_files, tag_bytes = {}, {}
  count_tags(come, 1)
  count_tags(gone, -1)
  local new_files, new_bytes = tag_files, tag_bytes
  tag_files, tag_bytes = old_files, old_bytes
  if over('files', files_before + entered, files_growth) then
    return 'files'
  end
  if over('bytes', bytes_before + bytes + behind_bytes, come_size - gone_size) then
    return 'bytes'
  end
  for tag, n in pairs(new_files) do
    if most.tag_files or most.tag_bytes then
      local now_files = tonumber(redis.call('HGET', tags, 'files ' .. tag) or 0) + (tag_files[tag] or 0)
      local now_bytes = tonumber(redis.call('HGET', tags, 'bytes ' .. tag) or 0) + (tag_bytes[tag] or 0)
      if over('tag_files', now_files, n) then
        return 'tag_files:' .. tag
      end
      if over('tag_bytes', now_bytes, new_bytes[tag]) then
        return 'tag_bytes:' .. tag
      end
    end
  end
  for tag, n in pairs(new_files) do
    tag_files[tag] = (tag_files[tag] or 0) + n
    tag_bytes[tag] = (tag_bytes[tag] or 0) + new_bytes[tag]
  end
end

for i = 9, #ARGV, 8 do
  local path, size = ARGV[i], tonumber(ARGV[i + 3])
  local identity, flags, uid, tail = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  local registered = math.max(now - tonumber(ARGV[i + 2]), 0)
  local deadline = registered + tonumber(ARGV[i + 1])
  local code = 'new'

  local old = redis.call('HGET', records, path)
  local gone, old_size = old or '', nil
  if old then
    local old_deadline, old_identity, old_flags, old_uid, old_tail
    old_deadline, old_size, old_identity, old_flags, old_uid, old_tail =
      string.match(old, '^1 %d+ (%d+) (%d+) (%S+) (%S+) (%S+)\n(.*)$')
    local unseen = old_identity and string.find(flags, 'u', 1, true)
    -- one of two objects, while the file changes its form; its other words are about the same file
    local same = unseen or string.find('+' .. (old_identity or '') .. '+', '+' .. identity .. '+', 1, true)
    if same and not unseen then
      identity = old_identity
      if string.find(old_flags, 'z', 1, true) then
        flags = string.gsub(flags, '[-z]', '') .. 'z'
      end
    end
    if unseen and (old_identity ~= '-' or not string.find(old_flags, 'u', 1, true)) then
      size, identity, uid, tail = tonumber(old_size), old_identity, old_uid, old_tail
      if old_identity == '-' or string.find(old_flags, 'u', 1, true) then
        flags = old_flags  -- a created file needs no look: its name is never used twice
      else
        flags = (string.gsub(old_flags .. 'u', '-', ''))
      end
    end
    if any_leased and redis.call('ZSCORE', leases, path) then
      code = same and 'claimed' or 'behind'
      gone = redis.call('HGET', next_, path) or ''
    else
      code = same and 'again' or 'swapped'
      if same then
        deadline = math.max(deadline, tonumber(old_deadline))
      end
    end
  end

  if code ~= 'claimed' then
    local record = string.format('1 %.0f %.0f %.0f ', registered, deadline, size)
      .. identity .. ' ' .. flags .. ' ' .. uid .. '\n' .. tail
    local limit = broken(record, gone, code == 'new' and 1 or 0)
    if limit then
      code = 'over:' .. limit
    elseif code == 'behind' then
      redis.call('HSET', next_, path, record)
      behind_bytes = behind_bytes + size - tonumber(string.match(gone, '^1 %d+ %d+ (%d+)') or 0)
    else
      redis.call('HSET', records, path, record)
      if not (any_held and redis.call('ZSCORE', held, path)) then
        redis.call('ZADD', registry, string.format('%.0f', deadline), path)
      end
    end
  end
  if code == 'new' then
    entered, entered_bytes, bytes = entered + 1, entered_bytes + size, bytes + size
    if string.find(flags, 'q', 1, true) then  -- found in quarantine, its record lost
      aside, aside_bytes = aside + 1, aside_bytes + size
    end
  elseif code == 'again' or code == 'swapped' then
    bytes = bytes + size - tonumber(old_size or 0)
    if any_dead then
      redis.call('ZREM', dead, path)
    end
    if any_failed then
      redis.call('HDEL', retries, path)
      redis.call('HDEL', errors, path)
    end
  end

  reply[#reply + 1] = code
  reply[#reply + 1] = string.format('%.0f', registered)
  reply[#reply + 1] = string.format('%.0f', deadline)
end

if entered > 0 then
  redis.call('HINCRBY', stats, 'registered', entered)
  redis.call('HINCRBY', stats, 'registered_bytes', string.format('%.0f', entered_bytes))
end
if bytes ~= 0 then
  redis.call('HINCRBY', stats, 'bytes', string.format('%.0f', bytes))
end
if aside > 0 then
  redis.call('HINCRBY', stats, 'aside', aside)
  redis.call('HINCRBY', stats, 'aside_bytes', string.format('%.0f', aside_bytes))
end
if behind_bytes ~= 0 then
  redis.call('HINCRBY', stats, 'behind_bytes', string.format('%.0f', behind_bytes))
end
for tag, n in pairs(tag_files) do
  redis.call('HINCRBY', tags, 'bytes ' .. tag, string.format('%.0f', tag_bytes[tag]))
  if redis.call('HINCRBY', tags, 'files ' .. tag, n) <= 0 then
    redis.call('HDEL', tags, 'files ' .. tag, 'bytes ' .. tag)
  end
end
return reply
