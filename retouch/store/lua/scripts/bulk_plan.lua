-- Write the next chunk of a bulk run, with the cursor after which the chunk following it begins.
-- Keys: rt:bulk:{id}, rt:bulk:chunk:{id}, rt:bulk:open.
-- ARGV: id, fence, number of jobs read for the chunk, cursor ('': this is the last chunk), and the chunk's items.
-- Returns 'ok', 'done' (there is nothing left to do) or 'stale' (the lease is lost, or the run was aborted).
local bulk, fence, matched, cursor = unpack(ARGV, 1, 4)
local given = ARGV

local batch = require('batch')
local bulk_runs = require('bulk_runs')
local clock = require('clock')

if not bulk_runs.is_held(bulk, fence) then return 'stale' end
local own = bulk_runs.key(bulk)
redis.call('HSET', own, 'cursor', cursor, 'is_last', cursor == '' and '1' or '0')
redis.call('HINCRBY', own, 'matched', matched)
if #given > 4 then
  -- A hundred jobs may have more deliveries than `unpack` can take.
  for place = 5, #given do batch.add('RPUSH', bulk_runs.chunk(bulk), given[place]) end
  batch.flush()
  redis.call('EXPIRE', bulk_runs.chunk(bulk), bulk_runs.KEPT_S)
elseif cursor == '' then
  bulk_runs.finish(bulk, 'done', clock.now())
  return 'done'
end
return 'ok'
