--[[
  page: read the records of one page of the waiting files, the earliest deadline first, without the quarantined ones.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   records   hash  path -> record
  KEYS[3]   retries   hash  path -> failed attempts
  KEYS[4]   meta      hash  schema, slack_ms
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   least     str   the page begins with this score; '-inf' is the first one
  ARGV[4]   skip      int   paths of that score that were in earlier pages
  ARGV[5]   limit     int   1..1000
  ARGV[6]   aside     str   only the paths of quarantined files contain it

  Returns  {now_ms, slack_ms, least, skip, path, score, record, attempts, ...}
           least and skip of the next page, least is '' at the end; four values for each file
  Atomic   reads only; a file that moves between two pages may come twice, or not at all.
  Cost     O(log N + limit); a quarantined file costs a quarter of a microsecond.
  Uses     number, clock, slack, schema
]]
local most, skipped = tonumber(limit), tonumber(skip)
if not (most and most >= 1 and most <= 1000 and skipped) then
  return redis.error_reply('ERR a limit is from 1 to 1000')
end

local members = redis.call('ZRANGEBYSCORE', registry, least, '+inf', 'WITHSCORES', 'LIMIT', skipped, most)
local last, same = '', 0
if #members == 2 * most then
  last = members[#members]
  for i = #members, 1, -2 do
    if members[i] ~= last then
      break
    end
    same = same + 1
  end
  if last == least then
    same = same + skipped
  end
end

local reply = {whole(now), whole(slack), last, same}
for i = 1, #members, 2 do
  local path = members[i]
  if not string.find(path, aside, 1, true) then
    local at = #reply
    reply[at + 1], reply[at + 2] = path, members[i + 1]
    reply[at + 3] = redis.call('HGET', records, path) or ''
    reply[at + 4] = redis.call('HGET', retries, path) or '0'
  end
end
return reply
