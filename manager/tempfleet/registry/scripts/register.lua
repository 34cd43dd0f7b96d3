--[[
  register: promise a deadline for files: enter new files, renew the promise for registered ones.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   held      zset  path -> +inf, while it has a keeper
  KEYS[4]   dead      zset  path -> buried at ms
  KEYS[5]   records   hash  path -> record
  KEYS[6]   retries   hash  path -> failed attempts
  KEYS[7]   errors    hash  path -> last error
  KEYS[8]   next      hash  path -> record that waits behind a claim
  KEYS[9]   stats     hash  totals
  KEYS[10]  meta      hash  schema, epoch, disk, disks, slack_ms
  KEYS[11]  tags      hash  'files <tag>', 'bytes <tag>' -> amount
  KEYS[12]  unregistered  zset  path -> ms until when its trace is kept
  KEYS[13]  former    hash  path -> the record that it had
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   epoch     str   random; kept by the first registration of a registry
  ARGV[4]   disk      str   identity of the base directory, kept while there are files; '' if the caller cannot see it
  ARGV[5]   disks     str   identities of the other roots of the files, see lib/opening.lua; '' for none
  ARGV[6]   files     int   limits, '' for none: files of the volume,
  ARGV[7]   bytes     int   their size,
  ARGV[8]   tag_files int   files of one tag,
  ARGV[9]   tag_bytes int   their size; quarantined files do not count, files that wait in next do
  ARGV[10+] more      9 each: path, ttl_ms, age_ms, size_bytes, identity, flags, uid, tail, shown (registered_ms as
                      the caller got it when it registered the file before, or '')

  Returns  {code, record, ...} two for each file, in order; no record ('') if nothing changed; the code is
             new      the path was not registered. If another registrant had registered the same file before somebody
                      unregistered it, it gets the flag s
             again    the same file (see identity.lua): the later deadline wins, its age restarts, its tags are
                      united, and it gets the flag s unless the caller registered it last. Also an unverified file (flag u): a caller that cannot see the file must not replace
                      what is recorded about it
             swapped  another file has the name: its record replaces the old one
             behind   another file, while the old one is being deleted: it waits in next, with the later deadline
                      if it waits there already
             claimed  the same file, or an unverified one, while it is being deleted, or once that has begun (flag b):
                      nothing changed
             tags     the same file, which would have more than 32 tags then: nothing changed
             over:<limit>[:<tag>]  a total that is at its limit would have grown: nothing changed
  Atomic   a path is in exactly one of registry / leases / held / dead, before and after.
  Cost     O(files * log N). Its first write adds, so at maxmemory Redis refuses the whole call.
  Uses     clock, slack, record, identity, union, totals, failures, former, schema, disk, opening
]]
if MORE % 9 ~= 0 then
  return redis.error_reply('ERR a file takes nine arguments')
end
for i = FIRST, #ARGV, 9 do
  if not (tonumber(ARGV[i + 1]) and tonumber(ARGV[i + 2]) and tonumber(ARGV[i + 3])) then
    return redis.error_reply('ERR times and sizes are numbers')
  end
end
open_registry()

local any_leased = redis.call('ZCARD', leases) > 0
local any_held = redis.call('ZCARD', held) > 0
local any_dead = redis.call('ZCARD', dead) > 0
local any_traces = redis.call('ZCARD', unregistered) > 0

local most = {
  files = tonumber(files), bytes = tonumber(bytes),
  tag_files = tonumber(tag_files), tag_bytes = tonumber(tag_bytes),
}
local files_before, bytes_before = 0, 0
if most.files or most.bytes then
  local totals = redis.call('HMGET', stats, 'bytes', 'behind_bytes', 'aside', 'aside_bytes')
  files_before = redis.call('HLEN', records) - tonumber(totals[3] or 0)
  bytes_before = tonumber(totals[1] or 0) + tonumber(totals[2] or 0) - tonumber(totals[4] or 0)
end

local function is_over(limit, before, growth)
  return most[limit] and growth > 0 and before + growth > most[limit]
end

local function in_tag(tag, kind, counted)
  return tonumber(redis.call('HGET', tags, kind .. ' ' .. tag) or 0) + (counted[tag] or 0)
end

-- Returns the tag limit that a file would break in the place of another one (*gone*), or nil.
local function broken_by_tags(size, flags, tail, gone_size, gone_flags, gone_tail)
  local growth, byte_growth = {}, {}
  count_tags(1, size, flags, tail, growth, byte_growth)
  count_tags(-1, gone_size, gone_flags, gone_tail, growth, byte_growth)
  for tag, n in pairs(growth) do
    if is_over('tag_files', in_tag(tag, 'files', files_by_tag), n) then
      return 'tag_files:' .. tag
    end
    if is_over('tag_bytes', in_tag(tag, 'bytes', bytes_by_tag), byte_growth[tag]) then
      return 'tag_bytes:' .. tag
    end
  end
end

-- The same for all limits. Only a path that is not registered (*is_new*) adds a file to the volume.
local function broken_limit(is_new, size, flags, tail, gone_size, gone_flags, gone_tail)
  if is_new and is_over('files', files_before + (sums.registered or 0), 1) then
    return 'files'
  end
  local bytes_now = bytes_before + (sums.bytes or 0) + (sums.behind_bytes or 0)
  if is_over('bytes', bytes_now, size - (gone_size or 0)) then
    return 'bytes'
  end
  if most.tag_files or most.tag_bytes then
    return broken_by_tags(size, flags, tail, gone_size, gone_flags, gone_tail)
  end
end

local reply = {}
for i = FIRST, #ARGV, 9 do
  local path, size = ARGV[i], tonumber(ARGV[i + 3])
  local identity, flags, uid, tail = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  local registered = math.max(now - tonumber(ARGV[i + 2]), 0)
  local deadline = registered + tonumber(ARGV[i + 1])
  local code = 'new'

  -- the record whose place this one takes
  local gone_registered, gone_deadline, gone_size, gone_identity, gone_flags, gone_uid, gone_tail
  local old = redis.call('HGET', records, path)
  if old then
    gone_registered, gone_deadline, gone_size, gone_identity, gone_flags, gone_uid, gone_tail = parse(old)
    local same = is_same_file(gone_identity, gone_flags, identity, flags)
    code = same and 'again' or 'swapped'
    if any_leased and redis.call('ZSCORE', leases, path) then
      code = same and 'claimed' or 'behind'
      old = redis.call('HGET', next, path)
      gone_registered, gone_deadline, gone_size, gone_identity, gone_flags, gone_uid, gone_tail = parse(old)
      same = not same and is_same_file(gone_identity, gone_flags, identity, flags)
    elseif same and has(gone_flags, 'b') then
      code = 'claimed'
    end
    if same then
      deadline = math.max(deadline, gone_deadline)
      identity = better_identity(gone_identity, gone_flags, identity)
      if has(flags, 'u') then
        size, uid = gone_size, gone_uid
      end
      flags = united_flags(gone_identity, gone_flags, flags)
      tail = united_tail(gone_tail, tail)
    end
    -- a file of another registrant in the same millisecond cannot be told from the caller's own by its time; a name of
    -- create() is known to nobody else yet, so the record is of an earlier call whose reply was lost
    local is_others = gone_registered ~= tonumber(ARGV[i + 8]) and not has(ARGV[i + 5], 'c')
    if is_others and (same or gone_registered == registered) then
      flags = with_flag(flags, 's')
    end
  end

  local trace = not old and any_traces and trace_of(path)
  if trace then
    local former_registered, _, _, former_identity, former_flags = parse(trace)
    if not is_same_file(former_identity, former_flags, identity, flags) then
      trace = nil
    elseif has(former_flags, 's') or former_registered ~= tonumber(ARGV[i + 8]) then
      flags = with_flag(flags, 's')
    end
  end

  local record = ''
  if code ~= 'claimed' and not tail then
    code = 'tags'
  elseif code ~= 'claimed' then
    local limit = broken_limit(code == 'new', size, flags, tail, gone_size, gone_flags, gone_tail)
    if limit then
      code = 'over:' .. limit
    else
      record = record_of(registered, deadline, size, identity, flags, uid, tail)
    end
  end
  if record == '' then
    -- refused
  elseif code == 'behind' then
    redis.call('HSET', next, path, record)
    add('behind_bytes', size - (gone_size or 0))
    count_tags(1, size, flags, tail, files_by_tag, bytes_by_tag)
    count_tags(-1, gone_size, gone_flags, gone_tail, files_by_tag, bytes_by_tag)
  else
    redis.call('HSET', records, path, record)
    if not (any_held and redis.call('ZSCORE', held, path)) then
      redis.call('ZADD', registry, deadline, path)
    end
    count(1, size, flags, tail)
    if code == 'new' then
      add('registered', 1)
      add('registered_bytes', size)
      -- whoever cannot see the file does not know where it is
      if trace and not has(flags, 'u') then
        drop_trace(path)
      end
    else
      count(-1, gone_size, gone_flags, gone_tail)
      forget_failures(path)
      if any_dead then
        redis.call('ZREM', dead, path)
      end
    end
  end

  reply[#reply + 1] = code
  reply[#reply + 1] = record
end
keep_totals()
return reply
