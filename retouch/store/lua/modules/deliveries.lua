-- Deliveries: one for each receiver that wants an event.
-- Keys: rt:receivers:{tenant}, rt:receiver:{id}, rt:deliveries_of:{job}, rt:deliveries:recent,
-- rt:deliveries_by_tenant:{tenant}, rt:deliveries:spec:{item}, rt:deliveries:state:{item}.

local backlog = require('backlog')
local clock = require('clock')
local delivery_life = require('delivery_life')
local job_index = require('job_index')
local job_states = require('job_states')
local keys = require('keys')
local specs = require('specs')
local targets = require_late('targets')

local deliveries = {}

local function is_wanted_by(receiver, type)
  local known = redis.call('HMGET', 'rt:receiver:' .. receiver, 'disabled', 'events')
  if known[1] == '1' then return false end
  if not known[2] or known[2] == '' then return job_states.is_end(type) end
  return string.find(',' .. known[2] .. ',', ',' .. type .. ',', 1, true) ~= nil
end

local function is_enabled(receiver) return redis.call('HGET', 'rt:receiver:' .. receiver, 'disabled') ~= '1' end

local function add(event, receiver, now)
  local of_job, at = 'rt:deliveries_of:' .. event.job, clock.instant(now)
  local item = 'dl_' .. string.sub(event.job, 4) .. '-' .. event.sequence .. '-' .. redis.call('LLEN', of_job)
  redis.call('SET', keys.spec('deliveries', item), cjson.encode({ job = event.job, sequence = event.sequence,
    type = event.type, receiver = receiver, tenant = event.tenant }))
  redis.call('RPUSH', of_job, item)
  redis.call('EXPIRE', of_job, delivery_life.LOG_S)
  local target = targets().of(receiver, event.tenant)
  redis.call('HSET', keys.state('deliveries', item), 'target', target, 'score', at, 'state', 'queued', 'created_at', at)
  redis.call('ZADD', 'rt:deliveries:recent', at, item)
  redis.call('ZADD', 'rt:deliveries_by_tenant:' .. event.tenant, at, item)
  backlog.put('deliveries', target, item, at)
end

-- Return whether the job itself names events of this type: those that end it, and those in its options.
local function is_asked_for(spec, type)
  if job_states.is_end(type) then return true end
  for _, wanted in ipairs(spec.events or {}) do
    if wanted == type then return true end
  end
  return false
end

-- Enqueue one delivery of an event (job, sequence, type, tenant) for each receiver. Return true if there is any.
function deliveries.add_all(event, now)
  local known = {}
  local function add_once(receiver, is_wanted)
    if known[receiver] or not (is_wanted or is_wanted_by(receiver, event.type)) then return false end
    known[receiver] = true
    add(event, receiver, now)
    return true
  end
  local spec = specs.of('edits', event.job) or {}
  if is_asked_for(spec, event.type) then
    for _, receiver in ipairs(spec.receivers or {}) do add_once(receiver, is_enabled(receiver)) end
    if spec.callback then add_once('task:' .. spec.callback, true) end
  end
  for _, receiver in ipairs(redis.call('SMEMBERS', 'rt:receivers:' .. event.tenant)) do
    if add_once(receiver, false) then job_index.note_receiver(event.job, event.tenant, receiver, now) end
  end
  return next(known) ~= nil
end

return deliveries
