-- Delete receivers that no job has named for long, except for those of every job. `ensure` records that a receiver is
-- named before it reads the receiver, so that this script does not delete it in between.
-- Keys: rt:receivers_of_jobs, rt:receivers, rt:receivers_disabled, rt:receivers_by_tenant:{tenant}, rt:receiver:{id},
--       rt:deliveries:health:{id}, rt:deliveries:failing, rt:deliveries:failing:{tenant}.
-- ARGV: unused_s.
-- Returns how many receivers were deleted; one call deletes a bounded number.
local unused_s = unpack(ARGV)

local clock = require('clock')

local MOST = 1000

local function forget(receiver, tenant)
  redis.call('ZREM', 'rt:deliveries:failing', receiver)
  redis.call('ZREM', 'rt:deliveries:failing:' .. tenant, receiver)
  redis.call('ZREM', 'rt:receivers_by_tenant:' .. tenant, receiver)
  redis.call('DEL', 'rt:deliveries:health:' .. receiver)
  redis.call('ZREM', 'rt:receivers', receiver)
  redis.call('SREM', 'rt:receivers_disabled', receiver)
  return redis.call('DEL', 'rt:receiver:' .. receiver)
end

local old_until = clock.instant(clock.now() - tonumber(unused_s))
local gone = 0
for _, receiver in ipairs(redis.call('ZRANGEBYSCORE', 'rt:receivers_of_jobs', '-inf', old_until, 'LIMIT', 0, MOST)) do
  redis.call('ZREM', 'rt:receivers_of_jobs', receiver)
  local known = redis.call('HMGET', 'rt:receiver:' .. receiver, 'every_job', 'tenant')
  if known[1] ~= '1' then gone = gone + forget(receiver, known[2] or '') end
end
return gone
