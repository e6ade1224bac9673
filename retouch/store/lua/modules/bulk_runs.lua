-- Bulk runs: one action on all jobs that match a query, chunk by chunk. A chunk is a list of items. The script that
-- moves an item also removes it from the chunk and counts the outcome, so that each item is moved and counted once.
-- Keys: rt:bulk:{id}, rt:bulk:chunk:{id}, rt:bulk:open, rt:bulk:open:{tenant}.

local clock = require('clock')

local bulk_runs = {}

bulk_runs.KEPT_S = 90 * clock.DAY_S
bulk_runs.OPEN = 'rt:bulk:open'

function bulk_runs.key(bulk) return 'rt:bulk:' .. bulk end

function bulk_runs.chunk(bulk) return 'rt:bulk:chunk:' .. bulk end

function bulk_runs.open_of(tenant) return bulk_runs.OPEN .. ':' .. tenant end

-- Return true while the caller's lease is valid and nobody has aborted the run.
function bulk_runs.is_held(bulk, fence)
  local known = redis.call('HMGET', bulk_runs.key(bulk), 'state', 'fence')
  return known[1] == 'running' and known[2] == fence
end

-- End a run as `done` or `aborted`; the items left in its chunk are not changed.
function bulk_runs.finish(bulk, state, now)
  local own = bulk_runs.key(bulk)
  redis.call('HSET', own, 'state', state, 'finished_at', clock.instant(now))
  redis.call('ZREM', bulk_runs.OPEN, bulk)
  redis.call('ZREM', bulk_runs.open_of(redis.call('HGET', own, 'tenant')), bulk)
  redis.call('DEL', bulk_runs.chunk(bulk))
end

return bulk_runs
