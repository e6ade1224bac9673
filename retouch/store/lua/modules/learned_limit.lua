-- The limit of a gate, if it is learnt. A queue-full answer halves the limit. It grows by one after as many accepted
-- calls as it allows at one time. `ceiling` is the configured bound; for ten minutes after a queue-full answer, the
-- bound is one below the limit that was refused.
-- Keys: the gate's hash, rt:edits:limit_steps:{account} (list of "instant limit", the newest first).

local clock = require('clock')

local learned_limit = {}

local SAME_REFUSAL_S = 5      -- answers to calls that were out when the limit was halved do not halve it again
local BELOW_REFUSED_S = 600
local STEPS_MOST, STEPS_LIFE_S = 500, 3 * clock.DAY_S

-- Return what is known of a learnt limit; nil if the limit is configured.
local function read(gate)
  local known = redis.call('HMGET', gate, 'limit', 'ceiling', 'refused_at', 'refused_limit', 'learnt', 'learn')
  if known[6] ~= '1' then return nil end
  local ceiling = tonumber(known[2])
  return { limit = tonumber(known[1]), ceiling = ceiling, refused_at = tonumber(known[3] or 0),
    refused = tonumber(known[4] or ceiling + 1), exact = tonumber(known[5] or known[1]) }
end

-- For people: how the limit was learnt. It changes a few times in ten minutes at most, so this costs nothing per call.
local function note_step(gate, limit, now)
  local account = string.match(gate, '^rt:edits:gate:(.+)$') or 'default'
  local steps = 'rt:edits:limit_steps:' .. account
  redis.call('LPUSH', steps, clock.instant(now) .. ' ' .. limit)
  redis.call('LTRIM', steps, 0, STEPS_MOST - 1)
  redis.call('EXPIRE', steps, STEPS_LIFE_S)
end

local function save(gate, before, exact, now)
  local limit = math.floor(exact)
  redis.call('HSET', gate, 'learnt', exact, 'limit', limit)
  if limit ~= before then note_step(gate, limit, now) end
end

-- Record that the endpoint's queue was full.
function learned_limit.lower(gate, now)
  local known = read(gate)
  if not known or now - known.refused_at <= SAME_REFUSAL_S then return end
  redis.call('HSET', gate, 'refused_at', clock.instant(now), 'refused_limit', known.limit)
  save(gate, known.limit, math.max(1, math.floor(known.exact / 2)), now)
end

-- Record that the endpoint accepted a call.
function learned_limit.raise(gate, now)
  local known = read(gate)
  if not known then return end
  local most = now - known.refused_at < BELOW_REFUSED_S and math.max(1, known.refused - 1) or known.ceiling
  save(gate, known.limit, math.min(most, known.ceiling, known.exact + 1 / known.exact), now)
end

return learned_limit
