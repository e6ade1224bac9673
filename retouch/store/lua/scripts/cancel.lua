-- Cancel a job. One that nobody works on ends at once; one in flight ends when its call does, so that a paid image is
-- kept on record.
-- Keys: rt:edits:state:{job}, and those of jobs.lua.
-- ARGV: job, retention_s.
-- Returns {'cancelled' | 'requested' | 'final' | 'unknown', messages}.
local job, retention_s = unpack(ARGV)

local clock = require('clock')
local dispatch = require('dispatch')
local job_states = require('job_states')
local jobs = require('jobs')
local keys = require('keys')
local slots = require('slots')
local specs = require('specs')

local spec = specs.of('edits', job)
if not spec then return { 'unknown', slots.messages } end
local own = keys.state('edits', job)
local state = redis.call('HGET', own, 'state') or 'queued'
if job_states.is_final(state) then return { 'final', slots.messages } end
if state == 'running' or state == 'polling' then
  redis.call('HSET', own, 'cancel', '1')
  return { 'requested', slots.messages }
end
local now = clock.now()
jobs.finish_waiting(job, spec.tenant, { state = 'cancelled' }, now, tonumber(retention_s))
dispatch.run('edits', now)
return { 'cancelled', slots.messages }
