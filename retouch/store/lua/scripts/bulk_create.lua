-- Create a bulk run; a worker begins it. Safe to call again with the same id.
-- Keys: rt:bulk:{id}, rt:bulk:open, rt:bulk:open:{tenant}, rt:bulk:runs, rt:bulk:runs:{tenant}.
-- ARGV: id, tenant, most open runs of a tenant, most runs kept of a tenant, and fields with their values.
-- Returns 'new', 'known' (the id is on record already) or 'full' (the tenant has as many open runs as it may).
local bulk, tenant, open_most, kept_most = unpack(ARGV, 1, 4)
local fields = { unpack(ARGV, 5) }

local bulk_runs = require('bulk_runs')
local clock = require('clock')

local own = bulk_runs.key(bulk)
if redis.call('EXISTS', own) == 1 then return 'known' end
local open_of = bulk_runs.open_of(tenant)
if redis.call('ZCARD', open_of) >= tonumber(open_most) then return 'full' end
local now = clock.now()
local at = clock.instant(now)
redis.call('HSET', own, 'tenant', tenant, 'state', 'queued', 'created_at', at, 'fence', 0, unpack(fields))
redis.call('EXPIRE', own, bulk_runs.KEPT_S)
redis.call('ZADD', bulk_runs.OPEN, at, bulk)
redis.call('ZADD', open_of, at, bulk)
for _, index in ipairs({ 'rt:bulk:runs', 'rt:bulk:runs:' .. tenant }) do
  redis.call('ZADD', index, at, bulk)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - bulk_runs.KEPT_S)
  redis.call('EXPIRE', index, bulk_runs.KEPT_S)
end
-- The number of a tenant's runs is bounded; open runs are the newest ones, so they are never deleted here.
for _, old in ipairs(redis.call('ZRANGE', 'rt:bulk:runs:' .. tenant, 0, -tonumber(kept_most) - 1)) do
  redis.call('ZREM', 'rt:bulk:runs:' .. tenant, old)
  redis.call('ZREM', 'rt:bulk:runs', old)
  redis.call('DEL', bulk_runs.key(old))
end
return 'new'
