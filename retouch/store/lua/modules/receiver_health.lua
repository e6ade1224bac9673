-- Records since when and why a receiver fails. The record is found without a search, and deleted after the first
-- success.
-- Keys: rt:deliveries:health:{receiver}, rt:deliveries:failing, rt:deliveries:failing:{tenant}, rt:receiver:{id},
-- rt:receivers_disabled, rt:feed.

local clock = require('clock')
local delivery_life = require('delivery_life')

local receiver_health = {}

local WARN_AFTER_S, DISABLE_AFTER_S = 4 * clock.DAY_S, 5 * clock.DAY_S
local FAILING = 'rt:deliveries:failing'

-- A Celery task may be the callback of many tenants: each has its own record of it.
local function subject_of(receiver, target) return string.sub(receiver, 1, 5) == 'task:' and target or receiver end

local function health_key(subject) return 'rt:deliveries:health:' .. subject end

local function announce(type, receiver, tenant)
  redis.call('XADD', 'rt:feed', '*', 'job', '', 'sequence', 0, 'type', type, 'receiver', receiver, 'tenant', tenant)
end

function receiver_health.disable(receiver, tenant, now)
  if redis.call('EXISTS', 'rt:receiver:' .. receiver) == 0 then return end
  redis.call('HSET', 'rt:receiver:' .. receiver, 'disabled', '1', 'disabled_at', clock.instant(now))
  redis.call('SADD', 'rt:receivers_disabled', receiver)
  announce('receiver.disabled', receiver, tenant)
end

function receiver_health.note_success(receiver, tenant, target)
  local subject = subject_of(receiver, target)
  if redis.call('HEXISTS', health_key(subject), 'failing_since') == 0 then return end
  redis.call('DEL', health_key(subject))
  redis.call('ZREM', FAILING, subject)
  redis.call('ZREM', FAILING .. ':' .. tenant, subject)
end

-- Return the receiver's next attempt: the earlier one of this delivery's and of its other deliveries'.
local function next_attempt(due_at, known_at, now)
  if known_at > now and (not due_at or known_at < due_at) then return known_at end
  return due_at or 0
end

-- Warn of a receiver that has failed for long, and disable it finally.
local function judge(subject, receiver, tenant, failing_s, is_warned, now)
  if failing_s > DISABLE_AFTER_S then
    receiver_health.disable(receiver, tenant, now)
  elseif failing_s > WARN_AFTER_S and not is_warned then
    redis.call('HSET', health_key(subject), 'warned', '1')
    announce('receiver.failing', receiver, tenant)
  end
end

-- `answer` is what the log says of the attempt; `due_at` is when the delivery is tried again, or nil.
function receiver_health.note_failure(receiver, tenant, target, answer, due_at, now)
  local subject = subject_of(receiver, target)
  local own = health_key(subject)
  local failing_since, is_warned, next_at = unpack(redis.call('HMGET', own, 'failing_since', 'warned', 'next_at'))
  local since = tonumber(failing_since or now)
  redis.call('HSET', own, 'failing_since', clock.instant(since), 'last_at', clock.instant(now), 'next_at',
    clock.instant(next_attempt(due_at, tonumber(next_at or 0), now)), 'status',
    type(answer.status) == 'number' and answer.status or '', 'trouble', answer.trouble or '', 'target', target or '',
    'tenant', tenant)
  redis.call('HINCRBY', own, 'failures', 1)
  redis.call('EXPIRE', own, delivery_life.LOG_S)
  if not failing_since then
    redis.call('ZADD', FAILING, clock.instant(since), subject)
    redis.call('ZADD', FAILING .. ':' .. tenant, clock.instant(since), subject)
  end
  judge(subject, receiver, tenant, now - since, is_warned, now)
end

return receiver_health
