-- The indexes for lists of jobs: one tenant's jobs by state, by error code, by tag, receiver and input picture. Each
-- score is that of rt:jobs:{tenant}, the instant of enqueueing, so that all lists have the same order. The indexes by
-- account are written by account_slots.lua.
-- Keys: rt:jobs_by_state:{tenant}:{state} (open: not over; the three ends; timetable.lua writes `retrying`),
-- rt:jobs_by_code:{tenant}:{code}, rt:jobs_by_tag:{tenant}:{name=value}, rt:jobs_by_receiver:{tenant}:{receiver},
-- rt:jobs_by_input:{tenant}:{start of the SHA-256}, rt:job_indexes:{tenant} (those by code, tag, receiver and input,
-- for retention).

local clock = require('clock')
local keys = require('keys')

local job_index = {}

function job_index.by(kind, tenant, value) return 'rt:jobs_by_' .. kind .. ':' .. tenant .. ':' .. value end

-- The name of the index of jobs that wait for their next attempt.
function job_index.retrying(tenant) return job_index.by('state', tenant, 'retrying') end

function job_index.all_of(tenant) return 'rt:job_indexes:' .. tenant end

-- Return when a job was enqueued.
function job_index.created_at(job, tenant, now)
  return redis.call('ZSCORE', 'rt:jobs:' .. tenant, job) or clock.instant(now)
end

local function add(kind, tenant, value, job, created_at)
  redis.call('ZADD', job_index.by(kind, tenant, value), created_at, job)
end

local function drop(kind, tenant, value, job) redis.call('ZREM', job_index.by(kind, tenant, value), job) end

-- Add the job to the index of a receiver that it did not name, but that gets one of its events.
function job_index.note_receiver(job, tenant, receiver, now)
  local created_at = redis.call('ZSCORE', 'rt:jobs:' .. tenant, job)
  if not created_at then return end
  add('receiver', tenant, receiver, job, created_at)
  redis.call('ZADD', job_index.all_of(tenant), 'NX', clock.instant(now), job_index.by('receiver', tenant, receiver))
end

local DIGEST_DIGITS = 20
local SPEC_END = 190  -- the longest text of `input` and `trace`, the last fields of a spec

-- The job is claimed for the first time: from now on it is found among the runs of its input picture. A job that waits
-- is not, as a million may wait. Only the end of the spec is read, so this takes 5 µs a job with its two writes. A
-- picture takes 250 bytes.
function job_index.note_run(job, tenant, spec, created_at, now)
  local tail = string.sub(spec, -SPEC_END)
  local digest = string.match(tail, '"input":"%x%x/(%x+)%.%w+"}$')
    or string.match(tail, '"input":"%x%x/(%x+)%.%w+","trace":"[^"]*"}$')
  if not digest then return end
  local own = job_index.by('input', tenant, string.sub(digest, 1, DIGEST_DIGITS))
  redis.call('ZADD', own, created_at, job)
  redis.call('ZADD', job_index.all_of(tenant), 'NX', clock.instant(now), own)
end

-- `code` is that of a failed job's error.
function job_index.note_end(job, tenant, state, created_at, code, now)
  drop('state', tenant, 'open', job)
  add('state', tenant, state, job, created_at)
  if state == 'failed' then
    add('code', tenant, code, job, created_at)
    redis.call('ZADD', job_index.all_of(tenant), 'NX', clock.instant(now), job_index.by('code', tenant, code))
  end
end

-- Called before the end is removed from the record.
function job_index.note_reopened(job)
  local known = redis.call('HMGET', keys.state('edits', job), 'group', 'state', 'created_at', 'error')
  local tenant, state, created_at, error = known[1], known[2], known[3], known[4]
  drop('state', tenant, state, job)
  if error then drop('code', tenant, cjson.decode(error).code, job) end
  add('state', tenant, 'open', job, created_at)
end

return job_index
