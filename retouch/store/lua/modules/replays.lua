-- Replays: a failed or cancelled job is put back into the backlog, at the place of a new job with its priority. It
-- resumes from its checkpoint if that can still yield the image. Otherwise it POSTs again, and earlier charges no
-- longer count against its max_charges. A job whose image was stored, and that was cancelled all the same, succeeds at
-- once.
-- Keys: rt:edits:state:{job}, rt:edits:deadlines:{n}, and those of jobs.lua, room.lua, backlog.lua.

local backlog = require('backlog')
local charge_record = require('charge_record')
local checkpoints = require('checkpoints')
local clock = require('clock')
local deadlines = require('deadlines')
local dispatch = require('dispatch')
local events = require('events')
local job_states = require('job_states')
local jobs = require('jobs')
local keys = require('keys')
local priorities = require('priorities')
local room = require('room')
local specs = require('specs')

local replays = {}

-- Return 'replayed', 'open', 'succeeded', 'unknown', 'full backlog' or 'full budget'; the last two mean that the tenant
-- has no room, and that nothing changed. `asked_deadline_s` is '' for the time that the job had at first.
function replays.run(job, asked_deadline_s, retention_s)
  local spec = specs.of('edits', job)
  if not spec then return 'unknown' end
  local own = keys.state('edits', job)
  local state, result = unpack(redis.call('HMGET', own, 'state', 'result'))
  if not state or not job_states.is_final(state) then return 'open' end
  if state == 'succeeded' then return 'succeeded' end
  local left, reason = room.left(spec.tenant, not checkpoints.is_paid('edits', job))
  if not result and left <= 0 then return 'full ' .. reason end

  local now = clock.now()
  local deadline_at = now + (tonumber(asked_deadline_s) or spec.deadline_s)
  jobs.reopen(job)
  redis.call('HDEL', own, 'error', 'finished_at', 'cancel', 'cancelled', 'crashes', 'attempt', 'waits', 'polls',
    'reads_copy')
  redis.call('HSET', own, 'state', 'queued', 'forgiven', #charge_record.of(job), 'deadline_at',
    clock.instant(deadline_at))
  redis.call('RPUSH', deadlines.list_at(deadline_at), job)
  events.record(job, spec.tenant, 'edit.replayed', now)
  if result then
    jobs.finish(job, spec.tenant, { state = 'succeeded', result = result }, now, retention_s)
  else
    backlog.put('edits', spec.tenant, job, priorities.place_of(job, spec, now))
    dispatch.run('edits', now)
  end
  return 'replayed'
end

return replays
