-- Dispatch with several accounts of the endpoint: fairness.lua chooses the tenant, and its job gets a slot of an
-- account that has room. A tenant's own accounts serve it first and without a turn, since nobody else may use them;
-- after that, the tenants take turns at the shared accounts. All values are read here, at the last moment, without a
-- cache or randomness. Keys: rt:edits:backlog:{tenant}, rt:edits:ready, rt:edits:resting, the gates' hashes, and those
-- of account_choice.lua.

local account_choice = require_late('account_choice')
local account_jobs = require_late('account_jobs')
local account_slots = require_late('account_slots')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')

local account_dispatch = {}

local choice  -- of one run

local function may_take(run, tenant)
  return fairness.may_take(run.turn, tenant, fairness.held_by('edits', tenant))
    and redis.call('ZCARD', keys.lane('edits', 'backlog:' .. tenant)) > 0
end

-- A tenant that was served without a turn keeps its pass; if it has nothing to do, it moves from `ready` to `resting`.
local function stay_in_line(run, tenant)
  if may_take(run, tenant) then return end
  local pass = tonumber(redis.call('ZSCORE', run.turn.ready, tenant) or nil)
  redis.call('ZREM', run.turn.ready, tenant)
  if pass and pass < fairness.LAST then redis.call('ZADD', run.turn.resting, pass, tenant) end
end

-- Return the owner of an account whose turn it is there: stride scheduling among the owners, as among all tenants.
local function next_owner(run, account, skipped)
  local first, first_pass
  for tenant in string.gmatch(account.tenants, '%S+') do
    if not skipped[tenant] and may_take(run, tenant) then
      local pass = tonumber(redis.call('HGET', account.gate, 'own_pass:' .. tenant) or 0)
      pass = math.max(pass, account.own_clock)
      if not first or pass < first_pass then first, first_pass = tenant, pass end
    end
  end
  return first, first_pass
end

local function serve_owners(run, account)
  local skipped = {}
  while account.room > 0 do
    local tenant, pass = next_owner(run, account, skipped)
    if not tenant then return end
    local outcome = choice.serve_next(run, tenant, false)
    if outcome == 'given' then
      account.own_clock = pass
      redis.call('HSET', account.gate, 'own_clock', pass, 'own_pass:' .. tenant,
        pass + fairness.stride_of('edits', tenant))
    elseif not outcome then
      skipped[tenant] = true
    end
    stay_in_line(run, tenant)
  end
end

-- Return true if the tenant's turn moved the clock.
local function serve_turn(run, tenant, pass)
  local turn = run.turn
  if choice.owner_of(run, tenant).fallback == 'never' then
    redis.call('ZADD', turn.ready, fairness.LAST, tenant)
    return false
  end
  local outcome = may_take(run, tenant) and choice.serve_next(run, tenant, true)
  if outcome == 'given' then
    turn.clock = pass
    fairness.move_on(turn, tenant, fairness.held_by('edits', tenant))
  elseif not outcome then
    fairness.rest(turn, tenant, pass)
  end
  return outcome == 'given'
end

-- Serve a paid job that was on another account, after the lane has only one account again. If only its image must be
-- downloaded, the job gets a slot. If it must be polled, it waits for its account, since no other account can be polled
-- about it. Return true if the job got a slot.
function account_dispatch.give_foreign(tenant, job, score, now)
  local known = account_jobs().read(job)
  if known.creator and known.creator ~= gates.DEFAULT then
    account_choice().park({ now = now }, tenant, job, score, known)
    return false
  end
  account_slots().note(job, tenant, nil, nil, redis.call('HGET', keys.state('edits', job), 'account'))
  slots.give('edits', tenant, job, score, now)
  return true
end

function account_dispatch.serve(turn, now)
  choice = account_choice()
  local run, is_moved = choice.begin(turn, now), false
  for _, account in ipairs(run.accounts) do
    if account.tenants then serve_owners(run, account) end
  end
  while choice.has_shared_room(run) do
    local tenant, pass = fairness.first(turn)
    if not tenant or pass >= fairness.LAST then break end
    is_moved = serve_turn(run, tenant, pass) or is_moved
  end
  if is_moved then fairness.save_clock(turn) end
  choice.save(run)
end

return account_dispatch
