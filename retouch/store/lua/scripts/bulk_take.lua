-- Take the lease of the bulk run that has waited longest for its turn.
-- Keys: rt:bulk:open, rt:bulk:{id}, rt:bulk:chunk:{id}.
-- ARGV: lease_s.
-- Returns false, or {id, entries left of its chunk, fields...}.
local lease_s = unpack(ARGV)

local bulk_runs = require('bulk_runs')
local clock = require('clock')

local now = clock.now()
local bulk = redis.call('ZRANGEBYSCORE', bulk_runs.OPEN, '-inf', clock.instant(now), 'LIMIT', 0, 1)[1]
if not bulk then return false end
local own = bulk_runs.key(bulk)
redis.call('ZADD', bulk_runs.OPEN, clock.instant(now + tonumber(lease_s)), bulk)
redis.call('HINCRBY', own, 'fence', 1)
redis.call('HSET', own, 'state', 'running')
redis.call('HSETNX', own, 'started_at', clock.instant(now))
return { bulk, redis.call('LLEN', bulk_runs.chunk(bulk)), unpack(redis.call('HGETALL', own)) }
