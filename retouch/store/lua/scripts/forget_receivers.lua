-- Forget receivers that jobs named, when none has for long; those of all of a tenant's jobs stay.
-- Keys: rt:receivers_of_jobs, rt:receivers, rt:receiver:{id}, rt:deliveries:health:{id}, rt:deliveries:failing.
-- ARGV: unused_s.  Returns how many went, some at a time. `ensure` notes that a receiver is named before it reads it,
-- so that none vanishes between the two.
local MOST = 1000
local old_until = instant(now_s() - tonumber(ARGV[1]))
local gone = 0
for _, receiver in ipairs(redis.call('ZRANGEBYSCORE', 'rt:receivers_of_jobs', '-inf', old_until, 'LIMIT', 0, MOST)) do
  redis.call('ZREM', 'rt:receivers_of_jobs', receiver)
  local known = redis.call('HMGET', 'rt:receiver:' .. receiver, 'every_job', 'tenant')
  local tenant = known[2] or ''
  if known[1] ~= '1' then
    redis.call('ZREM', 'rt:deliveries:failing', receiver)
    redis.call('ZREM', 'rt:deliveries:failing:' .. tenant, receiver)
    redis.call('SREM', 'rt:receivers_by_tenant:' .. tenant, receiver)
    gone = gone + redis.call('DEL', 'rt:receiver:' .. receiver)
    redis.call('DEL', 'rt:deliveries:health:' .. receiver)
    redis.call('SREM', 'rt:receivers', receiver)
  end
end
return gone
