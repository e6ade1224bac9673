-- Abort a bulk run. Moves that the run has made are not undone.
-- Keys: rt:bulk:{id}, rt:bulk:chunk:{id}, rt:bulk:open, rt:bulk:open:{tenant}.
-- ARGV: id.
-- Returns 'aborted', 'final' (it was over) or 'unknown'.
local bulk = unpack(ARGV)

local bulk_runs = require('bulk_runs')
local clock = require('clock')

local state = redis.call('HGET', bulk_runs.key(bulk), 'state')
if not state then return 'unknown' end
if state ~= 'queued' and state ~= 'running' then return 'final' end
bulk_runs.finish(bulk, 'aborted', clock.now())
return 'aborted'
