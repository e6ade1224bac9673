-- Targets: a tenant's webhooks to one host, or its callbacks to one Celery task, named "tenant host" or "tenant
-- task:name". A target admits only as many deliveries into its tenant's backlog as its window says; the others wait at
-- the target, so that a host that hangs holds few slots. A target whose last success was quick is proven; the others
-- (new, slow, hanging) are in the lane's unproven line.
-- Keys: rt:deliveries:target:{target}, rt:deliveries:admitted:{target}, rt:deliveries:waiting:{target},
-- rt:deliveries:waiting_by_tenant, rt:deliveries:backlog:{group}, rt:deliveries:shut, rt:receiver:{id}.

local fairness = require('fairness')
local keys = require('keys')

local targets = {}

local function part(name, target) return keys.lane('deliveries', name .. ':' .. target) end

local function tenant_of(target) return string.match(target, '^%S+') end

-- Return the target of a receiver: the host is the URL's authority in lower case, without a final dot.
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

-- Return how many more deliveries the target admits now, and into which group.
local function room_of(target)
  if redis.call('ZSCORE', 'rt:deliveries:shut', target) then return 0 end
  local known = redis.call('HMGET', part('target', target), 'window', 'quick')
  local room = tonumber(known[1] or 1) - redis.call('ZCARD', part('admitted', target))
  return room, (known[2] == '1' and '' or '~') .. tenant_of(target)
end

local function admit(target, group, item, score)
  redis.call('ZADD', part('admitted', target), score, item)
  redis.call('HSET', keys.state('deliveries', item), 'group', group)
  redis.call('ZADD', part('backlog', group), score, item)
end

-- Admit waiting deliveries, as long as there is room.
function targets.admit(target)
  local room, group = room_of(target)
  if room <= 0 then return end
  local items = redis.call('ZPOPMIN', part('waiting', target), room)
  if #items == 0 then return end
  for at = 1, #items, 2 do admit(target, group, items[at], items[at + 1]) end
  count_waiting(target, -#items / 2)
  fairness.join('deliveries', group)
end

function targets.put(target, item, score)
  local room, group = room_of(target)
  if room > 0 then
    admit(target, group, item, score)
    fairness.join('deliveries', group)
  elseif redis.call('ZADD', part('waiting', target), score, item) == 1 then
    count_waiting(target, 1)
  end
end

-- A delivery gave its slot back, so the next one of its target is admitted.
function targets.leave(item)
  local target = redis.call('HGET', keys.state('deliveries', item), 'target')
  if not target then return end
  redis.call('ZREM', part('admitted', target), item)
  targets.admit(target)
end

-- Move admitted deliveries that have no slot yet back to the waiting ones.
function targets.recall(target)
  for _, item in ipairs(redis.call('ZRANGE', part('admitted', target), 0, -1)) do
    local group = redis.call('HGET', keys.state('deliveries', item), 'group')
    local score = group and redis.call('ZSCORE', part('backlog', group), item)
    if score then
      redis.call('ZREM', part('backlog', group), item)
      redis.call('ZREM', part('admitted', target), item)
      redis.call('ZADD', part('waiting', target), score, item)
      count_waiting(target, 1)
    end
  end
end

return targets
