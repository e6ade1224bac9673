-- Adoption of late answers: a paid answer that arrives after its lease was lost, or while another attempt runs, is
-- adopted if the job has no result: the job continues from it. Keys: rt:edits:state:{job}, rt:edits:backlog:{tenant}.

local backlog = require('backlog')
local checkpoints = require('checkpoints')
local clock = require('clock')
local dispatch = require('dispatch')
local events = require('events')
local job_states = require('job_states')
local jobs = require('jobs')
local keys = require('keys')
local ledger = require('ledger')
local slots = require('slots')
local specs = require('specs')

local adoption = {}

-- A job with one of these errors stays failed even with a checkpoint, which has had all of its tries.
local ENDS_WITH_A_CHECKPOINT = { deadline_passed = true, worker_lost = true, result_not_stored = true }

-- Put a job that waits for its next attempt, or has failed, back into the backlog.
local function put_back(job, tenant, state, score, now)
  backlog.withdraw('edits', tenant, job)
  if state == 'failed' then
    jobs.reopen(job)
    redis.call('HDEL', keys.state('edits', job), 'error', 'finished_at')
  end
  redis.call('HSET', keys.state('edits', job), 'state', 'queued')
  events.record(job, tenant, 'edit.adopted', now)
  backlog.put('edits', tenant, job, score or clock.instant(now))
  dispatch.run('edits', now)
end

-- If a job has no checkpoint, let it continue from a late answer, whatever its state is.
local function go_on(job, tenant, now)
  local state, score = unpack(redis.call('HMGET', keys.state('edits', job), 'state', 'score'))
  local waits_since = redis.call('ZSCORE', keys.lane('edits', 'backlog:' .. tenant), job)
  if waits_since then
    backlog.put('edits', tenant, job, waits_since)
    dispatch.run('edits', now)
  elseif state == 'retrying' or state == 'failed' then
    put_back(job, tenant, state, score, now)
  end
end

-- Record the answer to the POST of a lease that was lost; `checkpoint` is '' for an answer that was not paid for.
function adoption.take_late_answer(job, tenant, checkpoint, fence, charges, now)
  local own = keys.state('edits', job)
  local known = redis.call('HMGET', own, 'state', 'checkpoint', 'result', 'checkpoint_of')
  local state, other, result, other_of = unpack(known)
  if not state then return end
  if job_states.is_final(state) then ledger.book(job, tenant, specs.tags_of(job), charges, result, now) end
  if checkpoint == '' or result then return end
  if not other or other == '' then
    checkpoints.keep(job, checkpoint, fence)
    go_on(job, tenant, now)
  elseif other_of ~= fence then
    checkpoints.put_aside(job, checkpoint, fence)
  end
end

-- Return whether a job goes on instead of failing, since a late answer arrived during its attempt.
function adoption.is_due(job, error, has_spare)
  if has_spare then return true end
  return checkpoints.is_paid('edits', job) and not ENDS_WITH_A_CHECKPOINT[cjson.decode(error).code]
end

-- End the attempt that failed; the job continues from the answer that arrived meanwhile.
function adoption.take_over(job, tenant, now)
  local own = keys.state('edits', job)
  local score = redis.call('HGET', own, 'score')
  slots.release('edits', tenant, job)
  redis.call('HSET', own, 'state', 'queued', 'message_requested', '0')
  events.record(job, tenant, 'edit.adopted', now)
  backlog.put('edits', tenant, job, score)
end

return adoption
