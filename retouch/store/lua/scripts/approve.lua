-- Mark the result of a job as approved, or take the mark back. A mark that is there stays as it is.
-- Keys: rt:edits:spec:{job}, rt:edits:state:{job}.
-- ARGV: job, by ('' takes the mark back).
-- Returns 'approved' or 'unapproved'; or why nothing happened: 'unchanged', 'no_result' (the job has not succeeded) or
--         'unknown'.
local job, by = unpack(ARGV)

local clock = require('clock')
local keys = require('keys')

local own = keys.state('edits', job)
local state, approved_at = unpack(redis.call('HMGET', own, 'state', 'approved_at'))
-- A job that succeeded is never replayed, so a mark always belongs to the result that was approved.
if state ~= 'succeeded' then
  return redis.call('EXISTS', keys.spec('edits', job)) == 1 and 'no_result' or 'unknown'
end
if (approved_at ~= false) == (by ~= '') then return 'unchanged' end
if by == '' then
  redis.call('HDEL', own, 'approved_at', 'approved_by')
  return 'unapproved'
end
redis.call('HSET', own, 'approved_at', clock.instant(clock.now()), 'approved_by', by)
return 'approved'
