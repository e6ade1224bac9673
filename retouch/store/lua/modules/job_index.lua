-- The indexes that lists of one tenant's jobs read: by state, by the code that a job failed with, by tag. Loaded behind
-- money.lua. Each score is that of rt:jobs:{tenant}, the instant of enqueueing, so that all lists have one order.
-- Keys: rt:jobs_by_state:{tenant}:{state} (open: not over; the three ends; `retrying` is lane.lua's),
-- rt:jobs_by_code:{tenant}:{code}, rt:jobs_by_tag:{tenant}:{name=value}, rt:job_indexes:{tenant} (those by code and tag, for retention).

local function index_by(kind, tenant, value) return 'rt:jobs_by_' .. kind .. ':' .. tenant .. ':' .. value end

local function add_to_index(kind, tenant, value, job, created_at)
  redis.call('ZADD', index_by(kind, tenant, value), created_at, job)
end

local function drop_from_index(kind, tenant, value, job) redis.call('ZREM', index_by(kind, tenant, value), job) end

local function index_end(job, tenant, state, created_at, error, now)
  drop_from_index('state', tenant, 'open', job)
  add_to_index('state', tenant, state, job, created_at)
  if state == 'failed' then
    local code = cjson.decode(error).code
    add_to_index('code', tenant, code, job, created_at)
    redis.call('ZADD', 'rt:job_indexes:' .. tenant, 'NX', instant(now), index_by('code', tenant, code))
  end
end

-- Before what the record says of the end is removed.
local function index_reopened(job)
  local known = redis.call('HMGET', state_key('edits', job), 'group', 'state', 'created_at', 'error')
  local tenant, state, created_at, error = known[1], known[2], known[3], known[4]
  drop_from_index('state', tenant, state, job)
  if error then drop_from_index('code', tenant, cjson.decode(error).code, job) end
  add_to_index('state', tenant, 'open', job, created_at)
end
