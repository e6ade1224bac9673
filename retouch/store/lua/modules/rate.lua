-- The rate of a gate: a token bucket that is refilled by time and holds the tokens of one second at most. A gate
-- without a rate has no such bound.
-- Keys: the gate's hash.

local clock = require('clock')

local rate = {}

function rate.tokens(bounds, now)
  if not bounds.rate or bounds.rate <= 0 then return math.huge end
  local most = math.max(1, bounds.rate)
  local since = now - (bounds.refilled_at or 0)
  if since < 0 then return most end  -- the clock was set back
  return math.min(most, (bounds.tokens or most) + since * bounds.rate)
end

function rate.spend(bounds, count, now)
  local tokens = rate.tokens(bounds, now)
  if tokens == math.huge then return end
  redis.call('HSET', bounds.gate, 'tokens', tokens - count, 'refilled_at', clock.instant(now))
end

return rate
