--[[
  claim: lease files for deletion: the due ones, or the named ones.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   leases    zset  path -> token
  KEYS[3]   claims    zset  token -> lease deadline ms
  KEYS[4]   records   hash  path -> record
  KEYS[5]   retries   hash  path -> failed attempts
  KEYS[6]   stats     hash  totals
  KEYS[7]   meta      hash  schema, disk, disks, last token, epoch, slack_ms, jumped_ms, pause
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   lease_ms  int   above zero
  ARGV[4]   limit     int   1..1000
  ARGV[5]   until_ms  int   claim named files, those registered at or before it; '' claims due files; 'own' claims
                            named files that the caller registered last and nobody else shares (flag s)
  ARGV[6]   aside     int   1: also claim named files that are in quarantine and not due yet
  ARGV[7]   due       int   1: claim only those of the named files that are due
  ARGV[8]   latest_ms   int  see lib/horizon.lua; '' if the caller does not know it
  ARGV[9]   expected_ms int
  ARGV[10]  last_token  int  the last token of the volume that the caller knows, and its
  ARGV[11]  known_epoch str  epoch, '' for none. If Redis has less than that, nothing is claimed.
  ARGV[12]  disk      str   identity of the base directory; refused if the files are on another one. '' is any
  ARGV[13+] files     1 each: path; none if until_ms is ''. After the paths, with 'own', 1 each: registered_ms as
                      the caller got it when it registered the file

  Returns  {token, now_ms, left, slack_ms, jumped_ms, epoch, obstacle, disks, path, record, attempts, ...}
           left is the number of other due files; obstacle is why nothing may be claimed: "older" if Redis has less
           than the caller knows, "pause" during a pause, '' otherwise; disks as in lib/opening.lua;
           three values for each claimed file, soonest deadline first; the token is '' if no file was claimed.
           A record is '' if it is lost: such a file is claimed too, so that its holder can bury it.
  Atomic   a path is in exactly one of registry / leases, before and after.
  Cost     O(limit * log N); never KEYS, never SCAN, never unbounded; removes before it adds.
  Uses     number, clock, slack, jumped, pause, horizon, record, schema, disk
]]
local lease, most, before = tonumber(lease_ms), tonumber(limit), tonumber(until_ms)
local is_own, by_name = until_ms == 'own', until_ms ~= ''
local count = is_own and MORE / 2 or MORE
if not (lease and lease > 0 and most and most >= 1 and most <= 1000) then
  return redis.error_reply('ERR a lease is above zero, a limit from 1 to 1000')
end
if (by_name and not is_own and not before) or count % 1 ~= 0 then
  return redis.error_reply('ERR named files have one time, own files have one each')
end

-- Whether the named file number *i* is claimed if it waits. Its record may be damaged: its holder buries it.
local function is_wanted(i, registered, deadline, flags)
  if is_own then
    return registered == tonumber(ARGV[FIRST + count + i - 1]) and not has(flags, 's')
  end
  -- a registration later than now was made before Redis's clock stepped back
  local is_newer = registered and registered > before and registered <= now
  return not is_newer and (not registered or aside == '1' or not has(flags, 'q') or deadline <= horizon)
end

local now_text = whole(now)
local known = redis.call('HMGET', meta, 'token', 'epoch', 'disks')
local token_before, epoch, disks = tonumber(known[1] or 0), known[2] or '', known[3] or ''
local is_older = token_before < tonumber(last_token) or (known_epoch ~= '' and known_epoch ~= epoch)
-- named files do not wait for their deadlines, so a wrong clock does not keep them
local is_paused = pause == 'older' or (pause and (not by_name or due == '1'))
local obstacle = is_older and 'older' or is_paused and 'pause' or ''

local function reply_of(token, left)
  return {token, now_text, left, whole(slack), whole(jumped), epoch, obstacle, disks}
end

if obstacle ~= '' then
  return reply_of('', 0)
end

local horizon_text = whole(horizon)
local paths, texts = {}, {}
if not by_name then
  paths = redis.call('ZRANGEBYSCORE', registry, '-inf', horizon_text, 'LIMIT', 0, most)
elseif count > 0 then
  local named = redis.call('HMGET', records, unpack(ARGV, FIRST, FIRST + math.min(count, most) - 1))
  for i, record in ipairs(named) do
    local registered, deadline, _, _, flags = parse(record)
    local path = ARGV[FIRST + i - 1]
    local score = is_wanted(i, registered, deadline, flags) and redis.call('ZSCORE', registry, path)
    if score and (due ~= '1' or tonumber(score) <= horizon) then
      paths[#paths + 1], texts[#paths + 1] = path, record
    end
  end
end
if #paths == 0 then
  return reply_of('', 0)
end

local token = whole(math.max(token_before + 1, now_us))
if not by_name then
  texts = redis.call('HMGET', records, unpack(paths))
end
local any_failed = redis.call('HLEN', retries) > 0
local attempts = any_failed and redis.call('HMGET', retries, unpack(paths)) or {}

local scored = {}
for i = 1, #paths do
  scored[2 * i - 1], scored[2 * i] = token, paths[i]
end
redis.call('ZREM', registry, unpack(paths))
for from = 1, #scored, 1000 do
  redis.call('ZADD', leases, unpack(scored, from, math.min(from + 999, #scored)))
end
redis.call('ZADD', claims, steady + lease, token)
redis.call('HSET', meta, 'token', token)
redis.call('HINCRBY', stats, 'claimed', #paths)

local left = by_name and 0 or redis.call('ZCOUNT', registry, '-inf', horizon_text)
local reply = reply_of(token, left)
for i = 1, #paths do
  local at = 3 * i + 6
  reply[at], reply[at + 1], reply[at + 2] = paths[i], texts[i] or '', attempts[i] or '0'
end
return reply
