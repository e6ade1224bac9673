-- Learns from the attempts of a target: its window, whether it is proven, and its breaker. The window (deliveries at
-- once) starts at 1 and doubles with each success, up to 8; a slow failure sets it to 1.
-- Keys: rt:deliveries:target:{target}, rt:deliveries:shut, rt:deliveries:limits.

local clock = require('clock')
local fairness = require('fairness')
local keys = require('keys')
local targets = require_late('targets')

local target_health = {}

local SHUT = 'rt:deliveries:shut'
local WINDOW_MOST, QUICK_S = 8, 1.0
local UNPROVEN_LEAST = 4
local SHUT_LEAST_S, SHUT_MOST_S, RESULTS_WINDOW_S = 30, 600, 300
local RESULTS_LEAST, FAILED_SHARE = 10, 0.7
local LIFE_S = 30 * 86400

local function record(target) return keys.lane('deliveries', 'target:' .. target) end

-- How many slots a tenant's unproven targets may hold: one more for each success, half as many for each that hangs.
local function learn_share(group, is_ok, is_quick)
  if fairness.line_of(group) == '' or (is_quick and not is_ok) then return end
  local turn = fairness.read('deliveries', fairness.UNPROVEN)
  local before = fairness.limit_of(turn, group)
  local most = math.max(fairness.UNPROVEN_START, math.floor(turn.unproven_limit * 3 / 4))
  local share = is_ok and math.min(most, before + 1) or math.max(UNPROVEN_LEAST, math.floor(before / 2))
  if share == fairness.UNPROVEN_START then redis.call('HDEL', keys.lane('deliveries', 'limits'), group)
  elseif share ~= before then redis.call('HSET', keys.lane('deliveries', 'limits'), group, share) end
end

-- The breaker: a target that mostly fails is shut for 30 s, doubling up to 10 min; then one probe decides.
local function shut(target, probing, shut_before_s, now)
  local shut_s = math.min(SHUT_MOST_S, math.max(SHUT_LEAST_S, probing and shut_before_s * 2 or shut_before_s))
  redis.call('HSET', record(target), 'shut_s', shut_s, 'results', 0, 'failed', 0, 'probing', '1', 'window', 1,
    'quick', '0')
  redis.call('ZADD', SHUT, clock.instant(now + shut_s), target)
end

local function read(target, now)
  local names = { 'window', 'quick', 'window_at', 'results', 'failed', 'probing', 'shut_s' }
  local values, known = redis.call('HMGET', record(target), unpack(names)), {}
  for at, name in ipairs(names) do known[name] = tonumber(values[at] or nil) end
  if now - (known.window_at or 0) > RESULTS_WINDOW_S then known.results, known.failed, known.window_at = 0, 0, now end
  return known
end

-- Count an attempt in the record of the target, and write the record.
local function count(target, known, is_ok, is_quick)
  known.results, known.failed = (known.results or 0) + 1, (known.failed or 0) + (is_ok and 0 or 1)
  local window, quick = known.window or 1, known.quick or 0
  if is_ok then window, quick = math.min(WINDOW_MOST, 2 * window), is_quick and 1 or 0
  elseif not is_quick then window, quick = 1, 0 end
  redis.call('HSET', record(target), 'window', window, 'quick', quick, 'window_at', clock.instant(known.window_at),
    'results', known.results, 'failed', known.failed)
  redis.call('EXPIRE', record(target), LIFE_S)
end

local function mostly_fails(known)
  return known.results >= RESULTS_LEAST and known.failed >= FAILED_SHARE * known.results
end

local function is_shut(target) return redis.call('ZSCORE', SHUT, target) and true or false end

-- Learn from an attempt that has ended: whether it succeeded, and after how long.
function target_health.learn(target, group, is_ok, latency_s, now)
  local known, is_quick = read(target, now), latency_s < QUICK_S
  count(target, known, is_ok, is_quick)
  learn_share(group, is_ok, is_quick)
  if is_ok then
    if known.probing then redis.call('HDEL', record(target), 'shut_s', 'probing') end
    return
  end
  -- Attempts that were in flight when the target was shut are no probes, so they do not double its time.
  if not is_shut(target) and (known.probing or mostly_fails(known)) then
    shut(target, known.probing, known.shut_s or 0, now)
  end
  if not is_quick or known.probing or is_shut(target) then targets().recall(target) end
end

return target_health
