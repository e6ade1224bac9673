-- Deadlines of jobs, in buckets of five seconds that rescue sweeps in turn.
-- Keys: rt:edits:deadlines:{n}, rt:edits:gate.

local keys = require('keys')

local deadlines = {}

local BUCKET_S, MOST_BUCKETS, BATCH = 5, 200, 500

local function bucket_key(bucket) return keys.lane('edits', 'deadlines:' .. bucket) end

-- Return the list that contains a job with this deadline.
function deadlines.list_at(deadline_at) return bucket_key(math.floor(deadline_at / BUCKET_S)) end

-- Begin to sweep from now on, unless sweeps have begun.
function deadlines.begin(now)
  redis.call('HSETNX', keys.lane('edits', 'gate'), 'deadlines_swept', math.floor(now / BUCKET_S) - 1)
end

-- Call `check` with each job whose deadline has passed since the last sweep. Return true if some are left.
function deadlines.sweep(now, check)
  local swept = tonumber(redis.call('HGET', keys.lane('edits', 'gate'), 'deadlines_swept') or nil)
  local over = math.floor(now / BUCKET_S) - 1
  if not swept or swept >= over then return false end
  for bucket = swept + 1, math.min(over, swept + MOST_BUCKETS) do
    for _, job in ipairs(redis.call('LPOP', bucket_key(bucket), BATCH) or {}) do check(job) end
    if redis.call('EXISTS', bucket_key(bucket)) == 1 then return true end
    redis.call('HSET', keys.lane('edits', 'gate'), 'deadlines_swept', bucket)
  end
  return false
end

return deadlines
