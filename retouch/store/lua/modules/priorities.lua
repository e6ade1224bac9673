-- Priorities: a boost of age, in seconds. A change moves a waiting job by the difference; the record has the priority.
-- Keys: rt:edits:state:{job}, rt:edits:backlog:{tenant}.

local checkpoints = require('checkpoints')
local clock = require('clock')
local keys = require('keys')
local specs = require('specs')

local priorities = {}

local BOOST_S = { high = 600, normal = 0, low = -600 }

-- A bulk run may have changed the priority since the job was enqueued.
local function priority_of(own, spec) return redis.call('HGET', own, 'priority') or spec.priority or 'normal' end

-- The place in the backlog of a job that comes to it at an instant.
function priorities.place_of(job, spec, at)
  return clock.instant(at - BOOST_S[priority_of(keys.state('edits', job), spec)])
end

-- Move a waiting job, and the score with which it will return from the timetable.
local function move(job, own, tenant, by)
  -- A paid answer goes first whatever its priority.
  if not checkpoints.is_paid('edits', job) then
    redis.call('ZADD', keys.lane('edits', 'backlog:' .. tenant), 'XX', 'INCR', by, job)
  end
  local score = redis.call('HGET', own, 'score')
  if score then redis.call('HSET', own, 'score', clock.instant(tonumber(score) + by)) end
end

local function is_waiting(job, own, tenant)
  return redis.call('ZSCORE', keys.lane('edits', 'backlog:' .. tenant), job)
    or redis.call('HGET', own, 'state') == 'retrying'
end

-- Return 'changed', 'same', 'in_flight' (the job has a slot), 'final' or 'unknown'.
function priorities.run(job, priority)
  local spec = specs.of('edits', job)
  if not spec then return 'unknown' end
  local own = keys.state('edits', job)
  if not is_waiting(job, own, spec.tenant) then
    return redis.call('HEXISTS', own, 'finished_at') == 1 and 'final' or 'in_flight'
  end
  local before = priority_of(own, spec)
  if before == priority then return 'same' end
  move(job, own, spec.tenant, BOOST_S[before] - BOOST_S[priority])
  redis.call('HSET', own, 'priority', priority)
  return 'changed'
end

return priorities
