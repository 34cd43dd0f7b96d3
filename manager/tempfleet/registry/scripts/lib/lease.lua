--[[
  lease: which files are still leased under a claim, and the end of the claim.

  Needs    leases, claims
  Defines  holds, end_claim
]]
-- Returns true if *path* is leased under *token*, a number. The ack or nack of an expired claim changes nothing.
local function holds(token, path)
  local holder = redis.call('ZSCORE', leases, path)
  return holder and tonumber(holder) == token
end

-- Removes the claim unless files are still leased under it. Returns true if it was removed.
local function end_claim(token)
  if redis.call('ZCOUNT', leases, token, token) > 0 then
    return false
  end
  redis.call('ZREM', claims, token)
  return true
end
