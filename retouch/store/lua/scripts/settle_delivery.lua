-- Record one delivery attempt and what follows, give up the lease, dispatch the next delivery.
-- ARGV: item, fence, move ('delivered', 'retrying', 'dead'), delay_s, counts ('1': this was an attempt), log (JSON),
--       health ('ok', 'failed' or '': says nothing about the receiver), disable ('1': the receiver wants no more).
-- Returns {'ok' or 'stale', messages}.
local item, fence, move, delay_s, counts, log, health, disable = unpack(ARGV)
delay_s = tonumber(delay_s)
local LIFE_S = 30 * 86400
local WARN_AFTER_S, DISABLE_AFTER_S = 4 * 86400, 5 * 86400

if not holds('deliveries', item, fence) then return { 'stale', messages } end
local now = now_s()
local own = state_key('deliveries', item)
local known = redis.call('HMGET', own, 'group', 'target')
local group, target = known[1], known[2]
local spec = cjson.decode(redis.call('GET', key('deliveries', 'spec:' .. item)) or '{}')
local receiver, tenant = spec.receiver or '', spec.tenant or ''
local log_key = key('deliveries', 'log:' .. item)
-- A Celery task may be the callback of many tenants: each has its own record of it.
local subject = string.sub(receiver, 1, 5) == 'task:' and target or receiver

local function tell(type)
  redis.call('XADD', 'rt:feed', '*', 'job', '', 'sequence', 0, 'type', type, 'receiver', receiver, 'tenant', tenant)
end

local function disable_receiver()
  if redis.call('EXISTS', 'rt:receiver:' .. receiver) == 0 then return end
  redis.call('HSET', 'rt:receiver:' .. receiver, 'disabled', '1', 'disabled_at', instant(now))
  tell('receiver.disabled')
end

-- Note since when a receiver fails and why, where it is found without a search; forget it with the first success.
local function judge_receiver(answer)
  local health_key = 'rt:deliveries:health:' .. subject
  local before = redis.call('HMGET', health_key, 'failing_since', 'warned', 'next_at')
  if health == 'ok' then
    if not before[1] then return end
    redis.call('DEL', health_key)
    redis.call('ZREM', 'rt:deliveries:failing', subject)
    redis.call('ZREM', 'rt:deliveries:failing:' .. tenant, subject)
    return
  end
  local since = tonumber(before[1] or now)
  local next_at = move == 'retrying' and now + delay_s or 0
  local known_next = tonumber(before[3] or 0)
  if known_next > now and (next_at == 0 or known_next < next_at) then next_at = known_next end
  redis.call('HSET', health_key, 'failing_since', instant(since), 'last_at', instant(now), 'next_at', instant(next_at),
    'status', type(answer.status) == 'number' and answer.status or '', 'trouble', answer.trouble or '',
    'target', target or '', 'tenant', tenant)
  redis.call('HINCRBY', health_key, 'failures', 1)
  redis.call('EXPIRE', health_key, LIFE_S)
  if not before[1] then
    redis.call('ZADD', 'rt:deliveries:failing', instant(since), subject)
    redis.call('ZADD', 'rt:deliveries:failing:' .. tenant, instant(since), subject)
  end
  if now - since > DISABLE_AFTER_S then disable_receiver()
  elseif now - since > WARN_AFTER_S and not before[2] then
    redis.call('HSET', health_key, 'warned', '1')
    tell('receiver.failing')
  end
end

redis.call('RPUSH', log_key, log)
redis.call('EXPIRE', log_key, LIFE_S)
if counts == '1' then redis.call('HINCRBY', own, 'attempt', 1) end
redis.call('HDEL', own, 'by_hand', 'crashes')
if disable == '1' then disable_receiver() end
if health ~= '' then
  local answer = cjson.decode(log)
  judge_receiver(answer)
  -- A receiver that wants no more says nothing about the others of its host.
  if target and disable ~= '1' then targets.learn(target, group, health == 'ok', answer.latency_s or 0, now) end
end

if move == 'retrying' then
  redis.call('HSET', own, 'state', 'retrying', 'due_at', instant(now + delay_s))
  park('deliveries', group, item, now + delay_s)
else
  redis.call('HSET', own, 'state', move, 'finished_at', instant(now))
  redis.call('HDEL', own, 'due_at')
  redis.call('HINCRBY', 'rt:deliveries:counts', move, 1)
  if move == 'dead' then redis.call('ZADD', 'rt:deliveries:dead', instant(now), item) end
  release('deliveries', group, item)
  redis.call('EXPIRE', own, LIFE_S)
  redis.call('EXPIRE', key('deliveries', 'spec:' .. item), LIFE_S)
end
dispatch('deliveries', now)
return { 'ok', messages }
