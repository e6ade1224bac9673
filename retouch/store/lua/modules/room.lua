-- Room: how many more jobs a tenant may have waiting. Every script that puts a job into the backlog checks it, except
-- for a late paid answer, since its image must not be lost.
-- Keys: rt:edits:backlog:{tenant}, rt:jobs_by_state:{tenant}:retrying, rt:edits:backlog_limits.

local budgets = require('budgets')
local job_index = require('job_index')
local keys = require('keys')

local room = {}

-- Return the room and what bounds it: 'backlog' (the tenant's limit of waiting jobs) or 'budget' (its calls left today,
-- less the waiting jobs, each of which will need one). A job that needs no call is not bounded by the budget.
function room.left(tenant, needs_call)
  local left, reason = math.huge, ''
  -- A job that waits for its next attempt is in no backlog, but will return to it without a check.
  local waiting = redis.call('ZCARD', keys.lane('edits', 'backlog:' .. tenant))
    + redis.call('ZCARD', job_index.retrying(tenant))
  local most = tonumber(redis.call('HGET', 'rt:edits:backlog_limits', tenant) or nil)
  if most then left, reason = most - waiting, 'backlog' end
  local calls = needs_call and budgets.left(tenant)
  if calls and calls - waiting <= left then left, reason = calls - waiting, 'budget' end
  return left, reason
end

return room
