--[[
  observe: add one measurement to a histogram, and amounts to totals.

  KEYS[1]   stats   hash  totals and histogram buckets
  ARGV[1]   name    str   the histogram's, '' for none
  ARGV[2]   bucket  str   the upper bound of the bucket that it falls into, seconds, or +Inf
  ARGV[3]   ms      int   the measurement
  ARGV[4+]  totals  2 each: field, amount

  Returns  nothing
  Atomic   one key.
  Cost     O(totals). Counts only, so under maxmemory it is refused and nothing depends on it.
]]
local stats = KEYS[1]

if not tonumber(ARGV[3]) or (#ARGV - 3) % 2 ~= 0 then
  return redis.error_reply('ERR a measurement is a number, a total takes two arguments')
end
if ARGV[1] ~= '' then
  redis.call('HINCRBY', stats, ARGV[1] .. ':' .. ARGV[2], 1)
  redis.call('HINCRBY', stats, ARGV[1] .. '_ms', ARGV[3])
end
for i = 4, #ARGV, 2 do
  redis.call('HINCRBY', stats, ARGV[i], ARGV[i + 1])
end
return nil
