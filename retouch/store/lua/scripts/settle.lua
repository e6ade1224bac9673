-- Record the decision after an attempt, end the lease, and dispatch the next job.
-- Keys: rt:edits:state:{job}, and those of timetable.lua, jobs.lua, adoption.lua.
-- ARGV: job, fence, move ('polling', 'retrying', 'moving' (to another account, or 'retrying' where none would take it),
--       'succeeded', 'failed', 'cancelled'), delay_s, refund ('1': the attempt costs none), counts ('1': the wait is
--       counted), checkpoint (JSON; '-' forgets it; '' keeps it), error (JSON or ''), result (JSON or ''), retention_s.
-- Returns {'ok' or 'stale', messages}. 'stale': the lease was lost; the worker that has it now decides.
local job, fence, move, delay_s, refund, counts, checkpoint, error, result, retention_s = unpack(ARGV)

local account_moves = require_late('account_moves')
local checkpoints = require('checkpoints')
local clock = require('clock')
local dispatch = require('dispatch')
local events = require('events')
local jobs = require('jobs')
local keys = require('keys')
local leases = require('leases')
local slots = require('slots')
local timetable = require('timetable')

local own = keys.state('edits', job)
local known = redis.call('HMGET', own, 'fence', 'state', 'group', 'cancel', 'account')
local tenant, cancel, account = unpack(known, 3)
if not leases.is_current(known, fence) then return { 'stale', slots.messages } end
local now = clock.now()
local due_at = now + tonumber(delay_s)

local function is_same_error(code)
  local last = redis.call('HGET', own, 'error')
  return last and cjson.decode(last).code == code
end

-- If a late answer of another account has arrived, the job waits for a slot of that account.
local function poll()
  redis.call('HINCRBY', own, 'polls', 1)
  if account and account_moves().must_change(job, account) then
    redis.call('HSET', own, 'state', 'retrying', 'due_at', clock.instant(due_at), 'unannounced', '1')
    return timetable.park('edits', tenant, job, due_at)
  end
  redis.call('HSET', own, 'state', 'polling')
  leases.hold_until('edits', job, due_at)
end

-- A job may wait for a day at a full queue or a closed gate: a wait that costs nothing and has the same reason as
-- before makes no event, nor does the attempt after it.
local function retry()
  local is_news = counts == '1' or not is_same_error(cjson.decode(error).code)
  redis.call('HSET', own, 'state', 'retrying', 'error', error, 'due_at', clock.instant(due_at))
  if counts == '1' then redis.call('HINCRBY', own, 'waits', 1) end
  if is_news then
    events.record(job, tenant, 'edit.retrying', now, { 'delay_s', clock.instant(tonumber(delay_s)), 'error', error })
  else
    redis.call('HSET', own, 'unannounced', '1')
  end
  timetable.park('edits', tenant, job, due_at)
end

-- Continue from a late answer that arrived during the attempt. Return false if there is none.
local function adopt(has_spare)
  local adoption = require('adoption')
  if not adoption.is_due(job, error, has_spare) then return false end
  adoption.take_over(job, tenant, now)
  return true
end

local function finish(state)
  local ending = { state = state, error = state == 'failed' and error or nil, result = result ~= '' and result or nil }
  jobs.finish(job, tenant, ending, now, tonumber(retention_s))
end

if refund == '1' then redis.call('HINCRBY', own, 'attempt', -1) end
redis.call('HDEL', own, 'crashes')  -- those in a row are counted
local has_spare = checkpoints.leave(job, checkpoint, move == 'failed')
local is_cancelled = cancel == '1'
if move == 'polling' then poll()
elseif is_cancelled then finish('cancelled')
elseif move == 'retrying' then retry()
elseif move == 'moving' then
  if not account_moves().try(job, tenant, error, tonumber(delay_s), now) then retry() end
elseif move ~= 'failed' or not adopt(has_spare) then finish(move) end
dispatch.run('edits', now)
return { 'ok', slots.messages }
