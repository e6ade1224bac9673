-- Record one delivery attempt and what follows, give up the lease, dispatch the next delivery.
-- ARGV: item, fence, move ('delivered', 'retrying', 'dead'), delay_s, counts ('1': this was an attempt), log (JSON),
--       health ('ok', 'failed' or '': says nothing about the receiver), disable ('1': the receiver wants no more).
-- Returns {'ok' or 'stale', messages}.
local item, fence, move, delay_s, counts, log, health, disable = unpack(ARGV)
local LIFE_S = 30 * 86400
local SHUT_LEAST_S, SHUT_MOST_S, WINDOW_S = 30, 600, 300
local RESULTS_LEAST, FAILED_SHARE = 10, 0.7
local WARN_AFTER_S, DISABLE_AFTER_S = 4 * 86400, 5 * 86400

if not holds('deliveries', item, fence) then return { 'stale', messages } end
local now = now_s()
local own = state_key('deliveries', item)
local receiver = redis.call('HGET', own, 'group')
local log_key = key('deliveries', 'log:' .. item)

local function tell(type)
  redis.call('XADD', 'rt:feed', '*', 'job', '', 'sequence', 0, 'type', type, 'receiver', receiver,
    'tenant', redis.call('HGET', 'rt:receiver:' .. receiver, 'tenant') or '')
end

local function turn_off()
  if redis.call('EXISTS', 'rt:receiver:' .. receiver) == 0 then return end
  redis.call('HSET', 'rt:receiver:' .. receiver, 'disabled', '1', 'disabled_at', instant(now))
  tell('receiver.disabled')
end

-- The breaker: a receiver that mostly fails is shut for 30 s, doubling to 10 min; then one probe decides.
local function shut(health_key, probing)
  local before = tonumber(redis.call('HGET', health_key, 'shut_s') or 0)
  local shut_s = math.min(SHUT_MOST_S, math.max(SHUT_LEAST_S, probing and before * 2 or before))
  redis.call('HSET', health_key, 'shut_s', shut_s, 'results', 0, 'failed', 0, 'probing', '1')
  redis.call('ZADD', key('deliveries', 'shut'), instant(now + shut_s), receiver)
  redis.call('HSET', key('deliveries', 'limits'), receiver, 1)
  rest('deliveries', receiver, tonumber(redis.call('ZSCORE', key('deliveries', 'ready'), receiver) or 0))
end

local function judge(health_key)
  local known = redis.call('HMGET', health_key, 'window_at', 'failing_since', 'probing', 'warned')
  if now - tonumber(known[1] or 0) > WINDOW_S then
    redis.call('HSET', health_key, 'window_at', instant(now), 'results', 0, 'failed', 0)
  end
  local results = redis.call('HINCRBY', health_key, 'results', 1)
  redis.call('EXPIRE', health_key, LIFE_S)
  if health == 'ok' then
    redis.call('HDEL', health_key, 'failing_since', 'shut_s', 'probing', 'warned')
    redis.call('HDEL', key('deliveries', 'limits'), receiver)  -- also where the record of the probing is gone
    return
  end
  local failed = redis.call('HINCRBY', health_key, 'failed', 1)
  redis.call('HSETNX', health_key, 'failing_since', instant(now))
  local failing_s = now - tonumber(known[2] or now)
  if failing_s > DISABLE_AFTER_S then turn_off()
  elseif failing_s > WARN_AFTER_S and not known[4] then
    redis.call('HSET', health_key, 'warned', '1')
    tell('receiver.failing')
  end
  -- Attempts that were out when it was shut are no probes: they must not double its time.
  if redis.call('ZSCORE', key('deliveries', 'shut'), receiver) then return end
  if known[3] or (results >= RESULTS_LEAST and failed >= FAILED_SHARE * results) then shut(health_key, known[3]) end
end

redis.call('RPUSH', log_key, log)
redis.call('EXPIRE', log_key, LIFE_S)
if counts == '1' then redis.call('HINCRBY', own, 'attempt', 1) end
redis.call('HDEL', own, 'by_hand', 'crashes')
if disable == '1' then turn_off() end
if health ~= '' then judge('rt:deliveries:health:' .. receiver) end

if move == 'retrying' then
  redis.call('HSET', own, 'state', 'retrying', 'due_at', instant(now + tonumber(delay_s)))
  park('deliveries', receiver, item, now + tonumber(delay_s))
else
  redis.call('HSET', own, 'state', move, 'finished_at', instant(now))
  redis.call('HDEL', own, 'due_at')
  redis.call('HINCRBY', 'rt:deliveries:counts', move, 1)
  if move == 'dead' then redis.call('ZADD', 'rt:deliveries:dead', instant(now), item) end
  release('deliveries', receiver, item)
  redis.call('EXPIRE', own, LIFE_S)
  redis.call('EXPIRE', key('deliveries', 'spec:' .. item), LIFE_S)
end
dispatch('deliveries', now)
return { 'ok', messages }
