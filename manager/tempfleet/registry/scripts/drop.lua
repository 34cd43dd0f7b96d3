--[[
  drop: end keepers by name; a file without any leaves held.

  KEYS[1]   registry  zset  path -> deadline ms
  KEYS[2]   held      zset  path -> +inf, while it has a keeper
  KEYS[3]   records   hash  path -> record
  KEYS[4]   keepers   zset  keeper -> end ms or +inf
  KEYS[5]   kept      zset  keeper -> 0, in the order of paths
  KEYS[6]   reasons   hash  keeper -> why it keeps the file
  KEYS[7]   meta      hash  schema, slack_ms
  ARGV[1]   now_ms    int   '' for the server's clock
  ARGV[2]   schema    int   refused if the registry has another one
  ARGV[3]   due       str   when a file without keepers is due: 'own' at its own deadline, 'now' at once, unless
                            another registrant shares it (flag s)
  ARGV[4+]  files     2 each: path, name of the keeper

  Returns  {code, ...} one for each file, in order: freed (it was the last keeper), dropped (others keep the file),
           unkept (registered, but there is no such keeper), absent
  Atomic   a path moves from held to registry; with 'now', its record gets the new deadline.
  Cost     O(files * log N); removes before it adds.
  Uses     number, clock, slack, deadline, keepers, release, schema
]]
if MORE % 2 ~= 0 or (due ~= 'own' and due ~= 'now') then
  return redis.error_reply('ERR a drop takes own or now, and two arguments for each file')
end

local past_text = whole(past)

local function is_shared(record)
  return string.find(string.match(record or '', '^1 %d+ %d+ %d+ %S+ (%S+)') or '', 's', 1, true)
end

-- Lets a file wait for its deadline.
local function wait_again(path, record)
  local deadline = deadline_of(record) or past_text
  if due == 'now' and tonumber(deadline) > past and not is_shared(record) then
    deadline = past_text
    redis.call('HSET', records, path, with_deadline(record, past))
  end
  redis.call('ZADD', registry, deadline, path)
end

local reply = {}
for i = FIRST, #ARGV, 2 do
  local path, code = ARGV[i], 'unkept'
  local record = redis.call('HGET', records, path)
  if not record then
    code = 'absent'
  elseif end_keeper(path .. '\0' .. ARGV[i + 1]) then
    code = 'dropped'
    if leave_held(path) then
      code = 'freed'
      wait_again(path, record)
    end
  end
  reply[#reply + 1] = code
end
return reply
