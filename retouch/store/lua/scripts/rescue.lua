-- The sweep that frees what is stuck, in both lanes: expired leases, lost messages, due polls and retries, passed
-- deadlines, breakers whose time is over; then dispatch. Every worker calls it; whoever comes first in a tick does it.
-- ARGV: tick_s, lease_s, retention_s.  Returns {seconds until the caller should come again, messages}: until something
-- is due, at most tick_s; who came too early comes a tick after the next sweep, so that the others' looks are few.
local BATCH, BUCKET_S, MOST_BUCKETS = 500, 5, 200
local tick_s, lease_s, retention_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_s()
local sweep = redis.call('HMGET', 'rt:rescue', 'next_at', 'last_at')
local next_at = tonumber(sweep[1] or 0)
if now < next_at and next_at - now <= tick_s then return { instant(next_at - now + tick_s), messages } end
-- When nobody swept for a while, Redis or every worker was away. Holders could not renew their leases then, so they
-- get the time of one heartbeat to do so before they are judged.
local was_away = now - tonumber(sweep[2] or now) > 3 * tick_s + 2
local HEARTBEAT_S = lease_s / 3 + 1
local soonest = now + tick_s

local function due_in(name)
  local first = redis.call('ZRANGE', name, 0, 0, 'WITHSCORES')
  if #first == 0 then return {} end
  if tonumber(first[2]) > now then
    soonest = math.min(soonest, tonumber(first[2]))
    return {}
  end
  return redis.call('ZRANGEBYSCORE', name, '-inf', instant(now), 'LIMIT', 0, BATCH)
end

local function check_slot(lane, item)
  local own = state_key(lane, item)
  local known = redis.call('HMGET', own, 'state', 'group', 'message_requested', 'dispatched_at')
  local state, group = known[1], known[2]
  if state == 'running' and was_away then
    hold_until(lane, item, now + HEARTBEAT_S)
  elseif state == 'running' then
    redis.call('HINCRBY', own, 'crashes', 1)
    redis.call('HSET', own, 'state', 'queued', 'dispatched_at', instant(now))
    if lane == 'edits' then event(item, group, 'edit.recovered', now, '') end
    request_message(lane, item, now + MESSAGE_GRACE_S)
  elseif state == 'queued' or state == 'polling' then
    local waited_s = known[3] == '1' and now - tonumber(known[4] or now) or 0
    request_message(lane, item, now + math.min(MESSAGE_GRACE_CAP_S, math.max(MESSAGE_GRACE_S, waited_s)))
  elseif group then
    release(lane, group, item)
  else
    redis.call('ZREM', key(lane, 'slots'), item)
  end
end

local function requeue_due(lane, item)
  local own = state_key(lane, item)
  local known = redis.call('HMGET', own, 'group', 'score', 'target')
  unpark(lane, known[1] or '', item)
  local to = known[3] or known[1]
  if not to then return end
  redis.call('HSET', own, 'state', 'queued')
  redis.call('HDEL', own, 'due_at')
  put(lane, to, item, known[2])
end

local function fail_past_deadline(job)
  local spec = redis.call('GET', key('edits', 'spec:' .. job))
  local own = state_key('edits', job)
  local known = redis.call('HMGET', own, 'state', 'deadline_at', 'checkpoint')
  local state = known[1] or 'queued'
  local paid = known[3] and known[3] ~= ''
  if not spec or paid or (state ~= 'queued' and state ~= 'retrying') then return end
  if known[2] and tonumber(known[2]) > now then return end
  local tenant = cjson.decode(spec).tenant
  withdraw('edits', tenant, job)
  redis.call('HSETNX', own, 'created_at', redis.call('ZSCORE', 'rt:jobs:' .. tenant, job) or instant(now))
  finish(job, tenant, 'failed', now, retention_s,
    '{"code":"deadline_passed","message":"the job was not done by its deadline","retryable":true}', '')
end

local function sweep_deadlines(swept)
  local over = math.floor(now / BUCKET_S) - 1
  if not swept or swept >= over then return end
  for bucket = swept + 1, math.min(over, swept + MOST_BUCKETS) do
    local name = 'rt:edits:deadlines:' .. bucket
    for _, job in ipairs(redis.call('LPOP', name, BATCH) or {}) do fail_past_deadline(job) end
    if redis.call('EXISTS', name) == 1 then
      soonest = now
      break
    end
    redis.call('HSET', 'rt:edits:gate', 'deadlines_swept', bucket)
  end
end

-- A new day, or a changed budget (`budget_day` is cleared then): tenants that had none left may go on.
local function renew_budgets(day)
  local today = math.floor(now / DAY_S)
  if day == today then return end
  for _, tenant in ipairs(redis.call('SMEMBERS', 'rt:tenants')) do join('edits', tenant) end
  redis.call('HSET', 'rt:edits:gate', 'budget_day', today)
end

local done = redis.call('HMGET', 'rt:edits:gate', 'budget_day', 'deadlines_swept')
renew_budgets(tonumber(done[1] or nil))
sweep_deadlines(tonumber(done[2] or nil))
for _, target in ipairs(due_in('rt:deliveries:shut')) do
  redis.call('ZREM', 'rt:deliveries:shut', target)
  targets.admit(target)
end
for _, lane in ipairs({ 'edits', 'deliveries' }) do
  for _, item in ipairs(due_in(key(lane, 'slots'))) do check_slot(lane, item) end
  for _, item in ipairs(due_in(key(lane, 'timetable'))) do requeue_due(lane, item) end
  dispatch(lane, now)
end
redis.call('HSET', 'rt:rescue', 'next_at', instant(soonest), 'last_at', instant(now))
return { instant(math.max(0, soonest - now)), messages }
