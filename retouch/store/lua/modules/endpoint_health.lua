-- What an answer says of the endpoint, learnt by the gate that the call had passed: its rest, its limit, its breaker.
-- Keys: the gate's hash.

local breaker = require('breaker')
local clock = require('clock')
local learned_limit = require('learned_limit')

local endpoint_health = {}

local FULL_S = 1  -- a full queue refuses the next job as well: a moment's rest for all jobs behind the gate

-- `health` is 'full', 'ok', 'alive', 'down' or ''; `is_free`: the POST cost nothing. Return for how many seconds this
-- opened the breaker, or ''.
function endpoint_health.learn(gate, job, health, is_free, now)
  if health == '' then return '' end
  if health == 'full' then
    redis.call('HSET', gate, 'full_until', clock.instant(now + FULL_S))
    learned_limit.lower(gate, now)
  elseif health == 'ok' then
    learned_limit.raise(gate, now)
  end
  if health == 'down' then return breaker.note_down(gate, job, is_free, now) end
  breaker.close(gate)
  return ''
end

return endpoint_health
