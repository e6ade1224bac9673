-- The slots of each account of the endpoint. The slots of `default` are not counted: they are all slots of the lane
-- that the other accounts do not hold.
-- Keys: rt:edits:held_by_account, rt:edits:state:{job}, rt:jobs_by_account:{tenant}:{account}, rt:job_indexes:{tenant}.

local gates = require('gates')
local keys = require('keys')

local account_slots = {}

account_slots.HELD = 'rt:edits:held_by_account'

function account_slots.count(account, by)
  if account == gates.DEFAULT then return end
  if redis.call('HINCRBY', account_slots.HELD, account, by) <= 0 then
    redis.call('HDEL', account_slots.HELD, account)
  end
end

local function index_of(tenant, account) return 'rt:jobs_by_account:' .. tenant .. ':' .. account end

-- Keep the index by account, which has the account that a job was dispatched to last. Jobs of `default` are in none:
-- they are most of all jobs, or there is no other account.
local function index(job, tenant, account, former)
  if account == former then return end
  if former and former ~= gates.DEFAULT then redis.call('ZREM', index_of(tenant, former), job) end
  local created_at = redis.call('ZSCORE', 'rt:jobs:' .. tenant, job)
  if not account or account == gates.DEFAULT or not created_at then return end
  redis.call('ZADD', index_of(tenant, account), created_at, job)
  redis.call('ZADD', 'rt:job_indexes:' .. tenant, 'NX', created_at, index_of(tenant, account))
end

-- Record the account to which the job's slot belongs, and the reason. `account` is nil if there is only one account
-- again.
function account_slots.note(job, tenant, account, reason, former)
  local own = keys.state('edits', job)
  index(job, tenant, account, former)
  if account then
    account_slots.count(account, 1)
    redis.call('HSET', own, 'account', account, 'account_reason', reason)
  else
    redis.call('HDEL', own, 'account', 'account_reason')
  end
end

return account_slots
