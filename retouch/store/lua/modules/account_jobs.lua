-- The facts in a job's record that decide to which accounts the job may go. Keys: rt:edits:state:{job},
-- rt:edits:account_tenants.

local charge_record = require('charge_record')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')

local account_jobs = {}

-- Return the account at which the job must be polled, or nil: only the account that accepted a request knows it.
local function creator_of(checkpoint, fence, charges)
  if cjson.decode(checkpoint).kind ~= 'processing' then return nil end
  local creator
  for _, charge in ipairs(charges) do
    if charge.fence == tonumber(fence or nil) then return charge.account or gates.DEFAULT end
    if charge.class == 'processing' then creator = charge.account or gates.DEFAULT end
  end
  return creator or gates.DEFAULT
end

-- Return the facts that limit the choice: `creator` (the account at which the job must be polled), `is_paid` (only a
-- download or polls are left), `is_billed` (a POST may have been billed), `avoid` (an account that has just refused the
-- job, until `avoid_until`).
function account_jobs.read(job)
  local names = { 'checkpoint', 'checkpoint_of', 'charges', 'avoid', 'avoid_until', 'moved' }
  local checkpoint, fence, charges, avoid, avoid_until, moved = unpack(redis.call('HMGET', keys.state('edits', job),
    unpack(names)))
  local known = { avoid = avoid, avoid_until = tonumber(avoid_until or 0), moved = moved,
    is_paid = checkpoint and checkpoint ~= '' }
  local list = charges and cjson.decode(charges) or {}
  known.is_billed = charge_record.count_possible(list) > 0
  if known.is_paid then known.creator = creator_of(checkpoint, fence, list) end
  return known
end

-- Return the accounts that a tenant owns, by id, and how it may use the shared ones: 'never', 'free_only' or 'always'.
function account_jobs.owner(tenant)
  local text = redis.call('HGET', fairness.OWN_ACCOUNTS, tenant)
  if not text then return { own = {}, fallback = 'always' } end
  local fallback, ids = string.match(text, '^(%S+) (.*)$')
  local own = {}
  for id in string.gmatch(ids, '%S+') do own[id] = true end
  return { own = own, fallback = fallback }
end

-- Return whether the job of an owner may call an account (of account_gates.lua) at all, whatever its room is.
function account_jobs.may_use(owner, known, account)
  if owner.own[account.id] then return true end
  if account.tenants then return false end
  return owner.fallback == 'always' or (owner.fallback == 'free_only' and not known.is_billed)
end

return account_jobs
