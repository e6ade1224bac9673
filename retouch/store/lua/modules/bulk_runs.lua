-- Bulk runs: one action on all jobs that a query names, chunk by chunk. The chunk is a list of items that is emptied by
-- the same script that moves them and counts what came of each, so that every item is moved and counted exactly once.
-- Keys: rt:bulk:{id}, rt:bulk:chunk:{id}, rt:bulk:open, rt:bulk:open:{tenant}.

local clock = require('clock')

local bulk_runs = {}

bulk_runs.KEPT_S = 90 * clock.DAY_S
bulk_runs.OPEN = 'rt:bulk:open'

function bulk_runs.key(bulk) return 'rt:bulk:' .. bulk end

function bulk_runs.chunk(bulk) return 'rt:bulk:chunk:' .. bulk end

function bulk_runs.open_of(tenant) return bulk_runs.OPEN .. ':' .. tenant end

-- True while the caller's lease stands, and nobody has aborted the run.
function bulk_runs.is_held(bulk, fence)
  local known = redis.call('HMGET', bulk_runs.key(bulk), 'state', 'fence')
  return known[1] == 'running' and known[2] == fence
end

-- End a run: `done` or `aborted`. What is left of its chunk stays as it is.
function bulk_runs.finish(bulk, state, now)
  local own = bulk_runs.key(bulk)
  redis.call('HSET', own, 'state', state, 'finished_at', clock.instant(now))
  redis.call('ZREM', bulk_runs.OPEN, bulk)
  redis.call('ZREM', bulk_runs.open_of(redis.call('HGET', own, 'tenant')), bulk)
  redis.call('DEL', bulk_runs.chunk(bulk))
end

return bulk_runs
