-- Renew the leases that one worker process holds.
-- ARGV: lease_s, then per lease: lane, item, fence.  Returns the items whose lease is lost.
local now = now_s()
local lost = {}
for at = 2, #ARGV, 3 do
  local lane, item, fence = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if holds(lane, item, fence) then hold_until(lane, item, now + tonumber(ARGV[1]))
  else lost[#lost + 1] = item end
end
return lost
