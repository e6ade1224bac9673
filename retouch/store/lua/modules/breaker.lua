-- The breaker of a gate, which all workers share. Five signs in a row that the endpoint is down open it for 10 s; each
-- failed probe doubles that time, and any sign of life closes it. While it is open, jobs wait and use no attempt.
-- Keys: the gate's hash.

local clock = require('clock')

local breaker = {}

local DOWN_MOST, OPEN_LEAST_S = 5, 10
local OPEN_MOST_S, OPEN_MOST_FREE_S = 300, 20  -- by probes that may have been billed, and by those that cost nothing
local PROBE_S = 30  -- one job is let through; if nothing is heard of it by then, another one

-- Return why a job may not call, or nil. While the breaker is open, only the probe may call; a job that was dispatched
-- before it opened waits again.
function breaker.why_not(gate, job)
  local open_until, probe, closed, mode = unpack(redis.call('HMGET', gate, 'open_until', 'probing', 'closed', 'mode'))
  if mode then return 'account_paused' end
  if not open_until or probe == job then return nil end
  return closed and 'account_closed' or 'endpoint_down'
end

function breaker.begin_probe(gate, job, now)
  redis.call('HSET', gate, 'open_until', clock.instant(now + PROBE_S), 'probing', job)
end

-- If the probe ends without an answer of the endpoint (cancelled, or out of time), another job becomes the probe.
function breaker.end_probe(gate, job)
  if redis.call('HGET', gate, 'probing') ~= job then return end
  redis.call('HDEL', gate, 'probing')
  redis.call('HSET', gate, 'open_until', 0)
end

-- Record that the endpoint answered this job. Only the probe opens a closed account: answers to calls that were in
-- flight when it closed do not. Return the reason for which the account had been closed, or nil.
function breaker.close(gate, job)
  if redis.call('HEXISTS', gate, 'down') == 0 then return nil end
  local closed, probe = unpack(redis.call('HMGET', gate, 'closed', 'probing'))
  if closed and probe ~= job then return nil end
  redis.call('HDEL', gate, 'down', 'open_until', 'open_s', 'probing', 'closed', 'closed_at')
  return closed or nil
end

-- Count a sign that the endpoint is down. Return for how many seconds this opened the breaker, or ''.
function breaker.note_down(gate, job, is_free, now)
  local known = redis.call('HMGET', gate, 'open_until', 'open_s', 'probing')
  local is_open, open_s, probe = known[1], tonumber(known[2] or nil), known[3]
  if is_open and probe ~= job then return '' end  -- calls that were under way when it opened say nothing new
  local down = redis.call('HINCRBY', gate, 'down', 1)
  if not is_open and down < DOWN_MOST then return '' end
  local opened = math.min(is_free and OPEN_MOST_FREE_S or OPEN_MOST_S, open_s and open_s * 2 or OPEN_LEAST_S)
  redis.call('HSET', gate, 'open_until', clock.instant(now + opened), 'open_s', opened)
  redis.call('HDEL', gate, 'probing')
  return opened
end

return breaker
