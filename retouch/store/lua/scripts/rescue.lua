-- The sweep that frees what is stuck, in both lanes: expired leases, lost messages, due polls and retries, passed
-- deadlines, breakers whose time is over; then dispatch. Every worker calls it; whoever comes first in a tick does it.
-- Keys: rt:rescue, rt:L:slots, rt:L:timetable, rt:L:state:{item}, rt:deliveries:shut, rt:edits:gate, rt:tenants, and
--       those of deadlines.lua, jobs.lua, backlog.lua.
-- ARGV: tick_s, lease_s, retention_s.
-- Returns {seconds until the caller should come again, messages}: until something is due, at most tick_s; who came too
--         early comes a tick after the next sweep, so that the others' looks are few.
local tick_s, lease_s, retention_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local backlog = require('backlog')
local checkpoints = require('checkpoints')
local clock = require('clock')
local deadlines = require('deadlines')
local dispatch = require('dispatch')
local events = require('events')
local fairness = require('fairness')
local history = require('history')
local jobs = require('jobs')
local keys = require('keys')
local leases = require('leases')
local slots = require('slots')
local specs = require('specs')
local targets = require('targets')
local timetable = require('timetable')

local BATCH = 500
local MESSAGE_GRACE_CAP_S = 10
local DEADLINE_PASSED = cjson.encode({ code = 'deadline_passed', message = 'the job was not done by its deadline',
  retryable = true })

local now = clock.now()
local sweep = redis.call('HMGET', 'rt:rescue', 'next_at', 'last_at')
local next_at = tonumber(sweep[1] or 0)
if now < next_at and next_at - now <= tick_s then return { clock.instant(next_at - now + tick_s), slots.messages } end
-- When nobody swept for a while, Redis or every worker was away. Holders could not renew their leases then, so they
-- get the time of one heartbeat to do so before they are judged.
local was_away = now - tonumber(sweep[2] or now) > 3 * tick_s + 2
local heartbeat_s = lease_s / 3 + 1
local soonest = now + tick_s

local function due_in(name)
  local first = redis.call('ZRANGE', name, 0, 0, 'WITHSCORES')
  if #first == 0 then return {} end
  if tonumber(first[2]) > now then
    soonest = math.min(soonest, tonumber(first[2]))
    return {}
  end
  return redis.call('ZRANGEBYSCORE', name, '-inf', clock.instant(now), 'LIMIT', 0, BATCH)
end

local function recover(lane, group, item)
  local own = keys.state(lane, item)
  redis.call('HINCRBY', own, 'crashes', 1)
  redis.call('HSET', own, 'state', 'queued', 'dispatched_at', clock.instant(now))
  if lane == 'edits' then events.record(item, group, 'edit.recovered', now) end
  history.note_rescue('lease_expired', group, now)
  slots.request_message(lane, item, now + slots.MESSAGE_GRACE_S)
end

-- `unclaimed_since` is nil for an item that nobody was asked to claim since: a poll that is due.
local function send_message(lane, group, item, unclaimed_since)
  if unclaimed_since then history.note_rescue('message_late', group or '', now) end
  local waited_s = unclaimed_since and now - unclaimed_since or 0
  slots.request_message(lane, item, now + math.min(MESSAGE_GRACE_CAP_S, math.max(slots.MESSAGE_GRACE_S, waited_s)))
end

local function check_slot(lane, item)
  local known = redis.call('HMGET', keys.state(lane, item), 'state', 'group', 'message_requested', 'dispatched_at')
  local state, group, is_requested, dispatched_at = unpack(known)
  if state == 'running' and was_away then
    leases.hold_until(lane, item, now + heartbeat_s)
  elseif state == 'running' then
    recover(lane, group, item)
  elseif state == 'queued' or state == 'polling' then
    send_message(lane, group, item, is_requested == '1' and tonumber(dispatched_at or now) or nil)
  elseif group then
    slots.release(lane, group, item)
  else
    redis.call('ZREM', keys.lane(lane, 'slots'), item)
  end
end

local function requeue_due(lane, item)
  local own = keys.state(lane, item)
  local group, score, target = unpack(redis.call('HMGET', own, 'group', 'score', 'target'))
  timetable.unpark(lane, group or '', item)
  local to = target or group
  if not to then return end
  redis.call('HSET', own, 'state', 'queued')
  redis.call('HDEL', own, 'due_at')
  backlog.put(lane, to, item, score)
end

local function check_deadline(job)
  local spec = specs.of('edits', job)
  local known = redis.call('HMGET', keys.state('edits', job), 'state', 'deadline_at')
  local state, deadline_at = known[1] or 'queued', known[2]
  if not spec or checkpoints.is_paid('edits', job) or (state ~= 'queued' and state ~= 'retrying') then return end
  if deadline_at and tonumber(deadline_at) > now then return end
  jobs.finish_waiting(job, spec.tenant, { state = 'failed', error = DEADLINE_PASSED }, now, retention_s)
end

-- A new day, or a changed budget (`budget_day` is cleared then): tenants that had none left may go on.
local function renew_budgets()
  local gate = keys.lane('edits', 'gate')
  if tonumber(redis.call('HGET', gate, 'budget_day') or nil) == clock.today() then return end
  for _, tenant in ipairs(redis.call('SMEMBERS', 'rt:tenants')) do fairness.join('edits', tenant) end
  redis.call('HSET', gate, 'budget_day', clock.today())
end

renew_budgets()
if deadlines.sweep(now, check_deadline) then soonest = now end
for _, target in ipairs(due_in('rt:deliveries:shut')) do
  redis.call('ZREM', 'rt:deliveries:shut', target)
  targets.admit(target)
end
for _, lane in ipairs({ 'edits', 'deliveries' }) do
  for _, item in ipairs(due_in(keys.lane(lane, 'slots'))) do check_slot(lane, item) end
  for _, item in ipairs(due_in(keys.lane(lane, 'timetable'))) do requeue_due(lane, item) end
  dispatch.run(lane, now)
end
redis.call('HSET', 'rt:rescue', 'next_at', clock.instant(soonest), 'last_at', clock.instant(now))
return { clock.instant(math.max(0, soonest - now)), slots.messages }
