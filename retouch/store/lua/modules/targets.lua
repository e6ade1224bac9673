-- Targets: a tenant's webhooks to one host, or its callbacks to one Celery task, named "tenant host" or "tenant task:name".
-- Loaded behind money.lua. A target admits as many deliveries into its tenant's backlog at once as its window says; the
-- rest wait before it, so that a host that hangs holds few slots however many receivers and deliveries it has.
-- Keys: rt:deliveries:target:{target}, rt:deliveries:admitted:{target}, rt:deliveries:waiting:{target},
-- rt:deliveries:waiting_by_tenant, rt:deliveries:shut, rt:deliveries:limits, rt:receiver:{id}.
--
-- The window starts at 1 and doubles with each success, up to 8; an attempt that took long and failed sets it to 1.
-- A target whose last success was quick is proven. The others (new, slow, hanging) stand in the lane's unproven line.

local WINDOW_MOST, QUICK_S = 8, 1.0
local UNPROVEN_LEAST = 4
local SHUT_LEAST_S, SHUT_MOST_S, RESULTS_WINDOW_S = 30, 600, 300
local RESULTS_LEAST, FAILED_SHARE = 10, 0.7
local TARGET_LIFE_S = 30 * 86400

local function part(name, target) return 'rt:deliveries:' .. name .. ':' .. target end

local function tenant_of(target) return string.match(target, '^%S+') end

-- The target of a receiver: the host is the URL's authority, in small letters, without a final dot.
function targets.of(receiver, tenant)
  if string.sub(receiver, 1, 5) == 'task:' then return tenant .. ' ' .. receiver end
  local url = redis.call('HGET', 'rt:receiver:' .. receiver, 'url') or ''
  local host, port = string.match(string.lower(url), '^%a+://([^/?#]*[^/?#:0-9.])%.?(:?%d*)')
  if not host then host, port = string.match(string.lower(url), '^%a+://([^/?#]*)'), '' end
  return tenant .. ' ' .. (host or '') .. port
end

local function count_waiting(target, by)
  local tenant = tenant_of(target)
  if redis.call('HINCRBY', 'rt:deliveries:waiting_by_tenant', tenant, by) <= 0 then
    redis.call('HDEL', 'rt:deliveries:waiting_by_tenant', tenant)
  end
end

-- How many more deliveries the target admits now, and into which group.
local function room_left(target)
  if redis.call('ZSCORE', 'rt:deliveries:shut', target) then return 0 end
  local known = redis.call('HMGET', part('target', target), 'window', 'quick')
  local room = tonumber(known[1] or 1) - redis.call('ZCARD', part('admitted', target))
  return room, (known[2] == '1' and '' or '~') .. tenant_of(target)
end

local function admit(target, group, item, score)
  redis.call('ZADD', part('admitted', target), score, item)
  redis.call('HSET', state_key('deliveries', item), 'group', group)
  redis.call('ZADD', part('backlog', group), score, item)
end

-- Admit what waits, as far as there is room.
function targets.admit(target)
  local room, group = room_left(target)
  if room <= 0 then return end
  local items = redis.call('ZPOPMIN', part('waiting', target), room)
  if #items == 0 then return end
  for at = 1, #items, 2 do admit(target, group, items[at], items[at + 1]) end
  count_waiting(target, -#items / 2)
  join('deliveries', group)
end

function targets.put(target, item, score)
  local room, group = room_left(target)
  if room > 0 then
    admit(target, group, item, score)
    join('deliveries', group)
  elseif redis.call('ZADD', part('waiting', target), score, item) == 1 then
    count_waiting(target, 1)
  end
end

-- A delivery gave its slot back: the next one of its target is admitted.
function targets.leave(item)
  local target = redis.call('HGET', state_key('deliveries', item), 'target')
  if not target then return end
  redis.call('ZREM', part('admitted', target), item)
  targets.admit(target)
end

-- Take back what was admitted and has no slot yet.
local function recall(target)
  for _, item in ipairs(redis.call('ZRANGE', part('admitted', target), 0, -1)) do
    local group = redis.call('HGET', state_key('deliveries', item), 'group')
    local score = group and redis.call('ZSCORE', part('backlog', group), item)
    if score then
      redis.call('ZREM', part('backlog', group), item)
      redis.call('ZREM', part('admitted', target), item)
      redis.call('ZADD', part('waiting', target), score, item)
      count_waiting(target, 1)
    end
  end
end

-- The slots that a tenant's unproven targets may hold: one more for each success, half for each that hangs.
local function learn_share(group, is_ok, is_quick)
  if line_of(group) == '' or not (is_ok or not is_quick) then return end
  local gate = gate_of('deliveries', ':unproven')
  local before = limit_of('deliveries', group, gate)
  local most = math.max(UNPROVEN_START, math.floor(gate.unproven_limit * 3 / 4))
  local share = is_ok and math.min(most, before + 1) or math.max(UNPROVEN_LEAST, math.floor(before / 2))
  if share == UNPROVEN_START then redis.call('HDEL', 'rt:deliveries:limits', group)
  elseif share ~= before then redis.call('HSET', 'rt:deliveries:limits', group, share) end
end

-- The breaker: a target that mostly fails is shut for 30 s, doubling to 10 min; then one probe decides.
local function shut(target, probing, shut_before_s, now)
  local shut_s = math.min(SHUT_MOST_S, math.max(SHUT_LEAST_S, probing and shut_before_s * 2 or shut_before_s))
  redis.call('HSET', part('target', target), 'shut_s', shut_s, 'results', 0, 'failed', 0, 'probing', '1', 'window', 1,
    'quick', '0')
  redis.call('ZADD', 'rt:deliveries:shut', instant(now + shut_s), target)
end

-- Learn from an attempt that reached its end: whether it succeeded, and after how long.
function targets.learn(target, group, is_ok, latency_s, now)
  local own, is_quick = part('target', target), latency_s < QUICK_S
  local names = { 'window', 'quick', 'window_at', 'results', 'failed', 'probing', 'shut_s' }
  local values, known = redis.call('HMGET', own, unpack(names)), {}
  for at, name in ipairs(names) do known[name] = tonumber(values[at] or nil) end
  if now - (known.window_at or 0) > RESULTS_WINDOW_S then known.results, known.failed, known.window_at = 0, 0, now end
  local results, failed = (known.results or 0) + 1, (known.failed or 0) + (is_ok and 0 or 1)
  local window, quick = known.window or 1, known.quick or 0
  if is_ok then window, quick = math.min(WINDOW_MOST, 2 * window), is_quick and 1 or 0
  elseif not is_quick then window, quick = 1, 0 end
  redis.call('HSET', own, 'window', window, 'quick', quick, 'window_at', instant(known.window_at), 'results', results,
    'failed', failed)
  redis.call('EXPIRE', own, TARGET_LIFE_S)
  learn_share(group, is_ok, is_quick)
  if is_ok then
    if known.probing then redis.call('HDEL', own, 'shut_s', 'probing') end
    return
  end
  -- Attempts that were out when it was shut are no probes: they must not double its time.
  if not redis.call('ZSCORE', 'rt:deliveries:shut', target)
    and (known.probing or (results >= RESULTS_LEAST and failed >= FAILED_SHARE * results)) then
    shut(target, known.probing, known.shut_s or 0, now)
  end
  if not is_quick or known.probing or redis.call('ZSCORE', 'rt:deliveries:shut', target) then recall(target) end
end
