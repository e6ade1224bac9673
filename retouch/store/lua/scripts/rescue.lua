-- The sweep that frees what is stuck, in both lanes: expired leases, lost messages, due polls and retries, passed
-- deadlines, breakers whose time is over; then dispatch. Of all workers that call it in a tick, the first one sweeps.
-- Keys: rt:rescue, rt:L:slots, rt:L:timetable, rt:L:state:{item}, rt:deliveries:shut, rt:edits:gate, rt:tenants, and
--       those of deadlines.lua, jobs.lua, backlog.lua.
-- ARGV: tick_s, lease_s, retention_s.
-- Returns {seconds until the caller should call again, messages}: the time until something is due, at most tick_s; for
--         a caller that came too early, a tick after the next sweep, so that few calls do nothing.
local tick_s, lease_s, retention_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local account_rescue = require_late('account_rescue')
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
local targets = require_late('targets')
local timetable = require('timetable')

local BATCH = 500
local MESSAGE_GRACE_CAP_S = 10
local DEADLINE = { code = 'deadline_passed', message = 'the job was not done by its deadline', retryable = true }

local now = clock.now()
local sweep = redis.call('HMGET', 'rt:rescue', 'next_at', 'last_at')
local next_at = tonumber(sweep[1] or 0)
if now < next_at and next_at - now <= tick_s then return { clock.instant(next_at - now + tick_s), slots.messages } end
-- Nobody has swept for a while: Redis or all workers were away, and leases could not be renewed. Their holders get the
-- time of one heartbeat for it before the leases count as expired.
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

-- The ids of the endpoint's accounts if there are several, else false.
local accounts

local function end_at_deadline(job, tenant)
  jobs.finish_waiting(job, tenant, { state = 'failed', error = cjson.encode(DEADLINE) }, now, retention_s)
end

local function recover(lane, group, item, account)
  local own = keys.state(lane, item)
  redis.call('HINCRBY', own, 'crashes', 1)
  redis.call('HSET', own, 'state', 'queued', 'dispatched_at', clock.instant(now))
  if lane == 'edits' then events.record(item, group, 'edit.recovered', now) end
  history.count_of_group('rescues:lease_expired', group, 1, now)
  slots.request_message(lane, item, now + slots.MESSAGE_GRACE_S, account)
end

-- Return whether the message of a job is sent again: not if nobody serves its account.
local function is_served(lane, group, item, account)
  if lane ~= 'edits' or not (accounts or account) then return true end
  local word = account_rescue().check(item, group, account or 'default', accounts, now)
  if word == 'lost' then end_at_deadline(item, group) end
  return not word
end

-- `unclaimed_since` is nil if no message has been sent for the item since: a poll that is due.
local function send_message(lane, group, item, unclaimed_since, account)
  if unclaimed_since then history.count_of_group('rescues:message_late', group or '', 1, now) end
  local waited_s = unclaimed_since and now - unclaimed_since or 0
  local grace_s = math.max(slots.MESSAGE_GRACE_S, math.min(MESSAGE_GRACE_CAP_S, waited_s))
  slots.request_message(lane, item, now + grace_s, account)
end

local function check_slot(lane, item)
  local names = { 'state', 'group', 'message_requested', 'dispatched_at', 'account' }
  local known = redis.call('HMGET', keys.state(lane, item), unpack(names))
  local state, group, is_requested, dispatched_at, account = unpack(known)
  if state == 'running' and was_away then
    leases.hold_until(lane, item, now + heartbeat_s)
  elseif state == 'running' then
    recover(lane, group, item, account)
  elseif state == 'queued' or state == 'polling' then
    if not is_served(lane, group, item, account) then return end
    local unclaimed_since = is_requested == '1' and tonumber(dispatched_at or now) or nil
    send_message(lane, group, item, unclaimed_since, account)
  elseif group then
    slots.release(lane, group, item)
  else
    redis.call('ZREM', keys.lane(lane, 'slots'), item)
  end
end

local function requeue_due(lane, item)
  local own = keys.state(lane, item)
  local known = redis.call('HMGET', own, 'group', 'score', 'target', 'account')
  local group, score, target, account = unpack(known)
  timetable.unpark(lane, group or '', item)
  local to = target or group
  if not to then return end
  redis.call('HSET', own, 'state', 'queued')
  redis.call('HDEL', own, 'due_at')
  local word = lane == 'edits' and (accounts or account) and account_rescue().follow(item, group, accounts, now)
  if word == 'lost' then return end_at_deadline(item, group) end
  if word then return end
  backlog.put(lane, to, item, score)
end

local function check_deadline(job)
  local spec = specs.of('edits', job)
  local known = redis.call('HMGET', keys.state('edits', job), 'state', 'deadline_at')
  local state, deadline_at = known[1] or 'queued', known[2]
  if not spec or (state ~= 'queued' and state ~= 'retrying') then return end
  if checkpoints.is_paid('edits', job) and not account_rescue().is_lost(job, accounts, now) then return end
  if deadline_at and tonumber(deadline_at) > now then return end
  end_at_deadline(job, spec.tenant)
end

-- Check whether a tenant has a new budget. On a new day, or after a budget was changed (which clears `budget_day`),
-- tenants without a call left may go on.
local function review_lane()
  local gate = keys.lane('edits', 'gate')
  local day, ids = unpack(redis.call('HMGET', gate, 'budget_day', 'accounts'))
  accounts = ids and account_rescue().review(ids, now)
  if tonumber(day or nil) == clock.today() then return end
  for _, tenant in ipairs(redis.call('SMEMBERS', 'rt:tenants')) do fairness.join('edits', tenant) end
  redis.call('HSET', gate, 'budget_day', clock.today())
end

review_lane()
if deadlines.sweep(now, check_deadline) then soonest = now end
for _, target in ipairs(due_in('rt:deliveries:shut')) do
  redis.call('ZREM', 'rt:deliveries:shut', target)
  targets().admit(target)
end
for _, lane in ipairs({ 'edits', 'deliveries' }) do
  for _, item in ipairs(due_in(keys.lane(lane, 'slots'))) do check_slot(lane, item) end
  for _, item in ipairs(due_in(keys.lane(lane, 'timetable'))) do requeue_due(lane, item) end
  dispatch.run(lane, now)
end
redis.call('HSET', 'rt:rescue', 'next_at', clock.instant(soonest), 'last_at', clock.instant(now))
return { clock.instant(math.max(0, soonest - now)), slots.messages }
