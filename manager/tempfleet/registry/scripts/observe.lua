--[[
  observe: add one measurement to a histogram, and amounts to totals.

  KEYS[1]   stats   hash  totals and histogram buckets
  ARGV[1]   name    str   of the histogram; '' for none
  ARGV[2]   bucket  str   the upper bound of its bucket: seconds, or +Inf
  ARGV[3]   ms      int   the measurement
  ARGV[4+]  totals  2 each: field, amount

  Returns  nothing
  Atomic   one key.
  Cost     O(totals). Only counts, so at maxmemory Redis refuses the call and nothing is lost but a count.
]]
if not tonumber(ms) or MORE % 2 ~= 0 then
  return redis.error_reply('ERR a measurement is a number, a total takes two arguments')
end
if name ~= '' then
  redis.call('HINCRBY', stats, name .. ':' .. bucket, 1)
  redis.call('HINCRBY', stats, name .. '_ms', ms)
end
for i = FIRST, #ARGV, 2 do
  redis.call('HINCRBY', stats, ARGV[i], ARGV[i + 1])
end
return nil
