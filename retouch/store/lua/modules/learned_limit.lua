-- The limit of a gate, if it is learnt. A queue-full answer halves it; it grows by one with as many answers as the
-- limit. `ceiling` is the configured bound; a refusal lowers it to just below the refused number for ten minutes.
-- Keys: the gate's hash.

local clock = require('clock')

local learned_limit = {}

local SAME_REFUSAL_S = 5      -- answers to calls that were out when the limit was halved do not halve it again
local BELOW_REFUSED_S = 600

-- Return what is known of a learnt limit; nil if the limit is configured.
local function read(gate)
  local known = redis.call('HMGET', gate, 'limit', 'ceiling', 'refused_at', 'refused_limit', 'learnt', 'learn')
  if known[6] ~= '1' then return nil end
  local ceiling = tonumber(known[2])
  return { limit = tonumber(known[1]), ceiling = ceiling, refused_at = tonumber(known[3] or 0),
    refused = tonumber(known[4] or ceiling + 1), exact = tonumber(known[5] or known[1]) }
end

local function save(gate, exact) redis.call('HSET', gate, 'learnt', exact, 'limit', math.floor(exact)) end

-- Record that the endpoint's queue was full.
function learned_limit.lower(gate, now)
  local known = read(gate)
  if not known or now - known.refused_at <= SAME_REFUSAL_S then return end
  redis.call('HSET', gate, 'refused_at', clock.instant(now), 'refused_limit', known.limit)
  save(gate, math.max(1, math.floor(known.exact / 2)))
end

-- Record that the endpoint accepted a call.
function learned_limit.raise(gate, now)
  local known = read(gate)
  if not known then return end
  local most = now - known.refused_at < BELOW_REFUSED_S and math.max(1, known.refused - 1) or known.ceiling
  save(gate, math.min(most, known.ceiling, known.exact + 1 / known.exact))
end

return learned_limit
