-- Moves a job to another account of the endpoint: an outcome that cost nothing and concerns the account moves the job
-- at once, and uses no attempt. Keys: rt:edits:state:{job}, and those of account_gates.lua, account_jobs.lua,
-- backlog.lua.

local account_gates = require_late('account_gates')
local account_jobs = require_late('account_jobs')
local backlog = require('backlog')
local clock = require('clock')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')

local account_moves = {}

-- Return whether a job must be polled at another account than that of its slot.
function account_moves.must_change(job, account)
  local creator = account_jobs().read(job).creator
  return creator and creator ~= account
end

-- Return whether another account would take the job, now or once it has room.
local function is_another_open(accounts, tenant, job, account, now)
  local choice = account_gates()
  local facts = account_jobs()
  local owner, known = facts.owner(tenant), facts.read(job)
  for _, id in ipairs(choice.ids_of(accounts)) do
    local other = choice.of(id, now)
    local is_up = other.is_open and not (other.open_until and now < other.open_until)
    if id ~= account and is_up and facts.may_use(owner, known, other) then return true end
  end
  return false
end

-- Put a job whose attempt ended back into the backlog; it avoids its present account for `avoid_s` seconds. Return
-- false, and change nothing, if no other account would take the job: it then waits as with only one account.
function account_moves.try(job, tenant, error, avoid_s, now)
  local own = keys.state('edits', job)
  local accounts = redis.call('HGET', gates.of('edits'), 'accounts')
  local account, score = unpack(redis.call('HMGET', own, 'account', 'score'))
  account = account or gates.DEFAULT
  if not accounts or not is_another_open(accounts, tenant, job, account, now) then return false end
  local code = cjson.decode(error).code
  slots.release('edits', tenant, job)
  redis.call('HSET', own, 'state', 'queued', 'error', error, 'avoid', account, 'avoid_until',
    clock.instant(now + avoid_s), 'moved', 'moved: ' .. code .. ' at ' .. account, 'unannounced', '1',
    'message_requested', '0')
  if code == 'forbidden' then redis.call('HSET', own, 'forbidden', '1') end
  backlog.put('edits', tenant, job, score or clock.instant(now))
  return true
end

return account_moves
