-- Cancels a job. A job that nobody works on ends at once; a job in flight ends with its call, so that a paid image goes
-- on record. Keys: rt:edits:state:{job}, and those of jobs.lua.

local clock = require('clock')
local dispatch = require('dispatch')
local job_states = require('job_states')
local jobs = require('jobs')
local keys = require('keys')
local specs = require('specs')

local cancellation = {}

-- Return 'cancelled', 'requested', 'final' or 'unknown'.
function cancellation.run(job, retention_s)
  local spec = specs.of('edits', job)
  if not spec then return 'unknown' end
  local own = keys.state('edits', job)
  local state = redis.call('HGET', own, 'state') or 'queued'
  if job_states.is_final(state) then return 'final' end
  if state == 'running' or state == 'polling' then
    redis.call('HSET', own, 'cancel', '1')
    return 'requested'
  end
  local now = clock.now()
  jobs.finish_waiting(job, spec.tenant, { state = 'cancelled' }, now, retention_s)
  dispatch.run('edits', now)
  return 'cancelled'
end

return cancellation
