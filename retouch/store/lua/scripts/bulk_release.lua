-- Let others have their turn: the run goes behind those that wait.
-- Keys: rt:bulk:{id}, rt:bulk:open.
-- ARGV: id, fence.
-- Returns 'ok' or 'stale'.
local bulk, fence = unpack(ARGV)

local bulk_runs = require('bulk_runs')
local clock = require('clock')

if not bulk_runs.is_held(bulk, fence) then return 'stale' end
redis.call('ZADD', bulk_runs.OPEN, clock.instant(clock.now()), bulk)
return 'ok'
