-- Redelivery: a person sends a delivery now that is over or waits for its next attempt. The delivery keeps its id and
-- gets a new schedule. It is sent even if its receiver is disabled.
-- Keys: rt:deliveries:spec:{item}, rt:deliveries:state:{item}, rt:deliveries:dead, and those of backlog.lua, jobs.lua.

local backlog = require('backlog')
local clock = require('clock')
local delivery_life = require('delivery_life')
local dispatch = require('dispatch')
local images = require('images')
local jobs = require('jobs')
local keys = require('keys')
local specs = require('specs')

local redelivery = {}

-- Each attempt builds the event from the job's record, with a link to the image, so both are kept for the new schedule.
local function keep_record(job, tenant, now)
  for _, name in ipairs(jobs.keys_of(job)) do
    local left_s = redis.call('TTL', name)
    if left_s >= 0 and left_s < delivery_life.SCHEDULE_S then redis.call('EXPIRE', name, delivery_life.SCHEDULE_S) end
  end
  local result = redis.call('HGET', keys.state('edits', job), 'result')
  if result then images.keep(tenant, images.of_result(result), now + delivery_life.SCHEDULE_S) end
end

-- Return 'redelivered', 'open', 'gone' (its job is no longer on record) or 'unknown'.
function redelivery.run(item)
  local own = keys.state('deliveries', item)
  local state, group, target = unpack(redis.call('HMGET', own, 'state', 'group', 'target'))
  local spec = specs.of('deliveries', item)
  if not state or not spec then return 'unknown' end
  if state == 'queued' or state == 'running' then return 'open' end
  if not specs.is_on_record('edits', spec.job) then return 'gone' end

  local now = clock.now()
  keep_record(spec.job, spec.tenant, now)
  backlog.withdraw('deliveries', group, item)
  redis.call('ZREM', 'rt:deliveries:dead', item)
  redis.call('PERSIST', own)
  redis.call('PERSIST', keys.spec('deliveries', item))
  redis.call('HSET', own, 'state', 'queued', 'by_hand', '1', 'attempt', 0)
  redis.call('HDEL', own, 'finished_at', 'due_at')
  backlog.put('deliveries', target or group, item, clock.instant(now))
  dispatch.run('deliveries', now)
  return 'redelivered'
end

return redelivery
