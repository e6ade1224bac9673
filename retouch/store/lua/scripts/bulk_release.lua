-- End the lease of a bulk run, so that the runs that wait have their turn first.
-- Keys: rt:bulk:{id}, rt:bulk:open.
-- ARGV: id, fence.
-- Returns 'ok' or 'stale'.
local bulk, fence = unpack(ARGV)

local bulk_runs = require('bulk_runs')
local clock = require('clock')

if not bulk_runs.is_held(bulk, fence) then return 'stale' end
redis.call('ZADD', bulk_runs.OPEN, clock.instant(clock.now()), bulk)
return 'ok'
