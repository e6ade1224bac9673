-- Budgets: calls per tenant and day. A call is reserved when its job is dispatched, becomes spent with its intent, and
-- is given back by a release without an intent, or by an answer that cost nothing. Therefore jobs that run at the same
-- time cannot exceed the budget.
-- Keys: rt:edits:budgets, rt:budget:{tenant}:{day}, rt:edits:state:{job}.

local checkpoints = require('checkpoints')
local clock = require('clock')
local keys = require('keys')

local budgets = {}

local LIFE_S = 3 * clock.DAY_S

local function budget_key(tenant, day) return 'rt:budget:' .. tenant .. ':' .. day end

local function count(tenant, day, name, by)
  redis.call('HINCRBY', budget_key(tenant, day), name, by)
  redis.call('EXPIRE', budget_key(tenant, day), LIFE_S)
end

-- Return the calls left today, or nil if the tenant has no budget.
function budgets.left(tenant)
  local budget = tonumber(redis.call('HGET', 'rt:edits:budgets', tenant) or nil)
  if not budget then return nil end
  local used = redis.call('HMGET', budget_key(tenant, clock.today()), 'spent', 'reserved')
  return budget - tonumber(used[1] or 0) - tonumber(used[2] or 0)
end

local function is_left(tenant)
  local left = budgets.left(tenant)
  return not left or left > 0
end

-- Return whether a tenant's next job may be dispatched: a call is left for it, or it needs none.
function budgets.allows_dispatch(tenant)
  if is_left(tenant) then return true end
  local first = redis.call('ZRANGE', keys.lane('edits', 'backlog:' .. tenant), 0, 0)[1]
  return first and checkpoints.is_paid('edits', first)
end

function budgets.reserve(job, tenant)
  if redis.call('HEXISTS', 'rt:edits:budgets', tenant) == 0 then return end
  count(tenant, clock.today(), 'reserved', 1)
  redis.call('HSET', keys.state('edits', job), 'reserved', clock.today())
end

-- `day` is the day of the job's reservation, or false.
function budgets.release_reservation(job, tenant, day)
  if not day then return end
  count(tenant, day, 'reserved', -1)
  redis.call('HDEL', keys.state('edits', job), 'reserved')
end

-- Count a call as spent. Return false, and count nothing, if no call is left and none was reserved for this job today:
-- the job calls again after its worker died, or midnight has passed since its dispatch.
function budgets.spend(job, tenant)
  local reserved_on = redis.call('HGET', keys.state('edits', job), 'reserved')
  budgets.release_reservation(job, tenant, reserved_on)
  if tonumber(reserved_on or nil) ~= clock.today() and not is_left(tenant) then return false end
  count(tenant, clock.today(), 'spent', 1)
  return true
end

-- Correct the budget: a POST turned out free (by = -1) or charged (1); `intent_at` says on which day it counts.
function budgets.correct(tenant, intent_at, by) count(tenant, math.floor(intent_at / clock.DAY_S), 'spent', by) end

return budgets
