-- The choice of the account for a tenant's next job, with several accounts of the endpoint. A job that can only go to
-- one account waits for it in the timetable, so that the jobs after it go on. Keys: rt:edits:backlog:{tenant},
-- rt:edits:state:{job}, rt:edits:account_clocks, and those of account_gates.lua, account_jobs.lua, slots.lua,
-- timetable.lua.

local account_gates = require_late('account_gates')
local account_jobs = require_late('account_jobs')
local clock = require('clock')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')
local timetable = require('timetable')

local account_choice = {}

local ACCOUNT_WAIT_S = 1.5  -- until a job that waits for one account asks again

local all_gates, facts  -- the two late modules, made once

-- Return the facts of one run of dispatch: the turn, the accounts by id and in order, and the clocks of the tiers.
function account_choice.begin(turn, now)
  all_gates = account_gates()
  facts = account_jobs()
  local run = { turn = turn, now = now, by_id = {}, owners = {}, clocks = {}, moved_clocks = {} }
  run.accounts = all_gates.read(turn.accounts, now)
  local flat = redis.call('HGETALL', all_gates.CLOCKS)
  for at = 1, #flat, 2 do run.clocks[tonumber(flat[at])] = tonumber(flat[at + 1]) end
  for _, account in ipairs(run.accounts) do run.by_id[account.id] = account end
  return run
end

function account_choice.owner_of(run, tenant)
  local owner = run.owners[tenant] or facts.owner(tenant)
  run.owners[tenant] = owner
  return owner
end

local function best(run, is_candidate) return all_gates.best(run.accounts, run.clocks, is_candidate) end

-- Choose the account for a job that may call any of several. Return the account, its pass, and the reason.
local function choose_to_call(run, owner, known, has_turn)
  local avoid = run.now < known.avoid_until and known.avoid
  local account, pass = best(run, function(one) return one.room > 0 and one.id ~= avoid and owner.own[one.id] end)
  if account then return account, pass, known.moved or 'own' end
  if not has_turn then return nil end
  account, pass = best(run, function(one)
    return one.room > 0 and one.id ~= avoid and facts.may_use(owner, known, one)
  end)
  return account, pass, account and (known.moved or 'tier ' .. account.tier)
end

-- Choose the account for a job. `has_turn`: it is the tenant's turn at the shared accounts.
local function choose(run, owner, known, has_turn)
  if known.creator then
    local creator = run.by_id[known.creator]
    return creator and creator.follow_room > 0 and creator or nil, nil, 'sticky'
  end
  if not known.is_paid then return choose_to_call(run, owner, known, has_turn) end
  -- A download calls no account, so a slot of any account will do; those that the tenant owns come first.
  local account, pass = best(run, function(one) return one.follow_room > 0 and owner.own[one.id] end)
  if not account and has_turn then
    account, pass = best(run, function(one) return one.follow_room > 0 and not one.tenants end)
  end
  return account, pass, 'download'
end

local function give(run, tenant, job, score, account, pass, reason)
  local caller = slots.give('edits', tenant, job, score, run.now, account.id, reason)
  account.caller = caller or account.caller
  account.given = (account.given or 0) + 1
  account.room, account.follow_room = account.room - 1, account.follow_room - 1
  account.held = account.held + 1
  if not pass then return end
  account.pass = pass + all_gates.stride_of(account)
  if account.tenants then return end
  run.clocks[account.tier], run.moved_clocks[account.tier] = pass, true
end

-- Let a job wait for its account in the timetable. The job uses no attempt, and keeps its score for the backlog.
function account_choice.park(run, tenant, job, score, known)
  local at = run.now + ACCOUNT_WAIT_S
  if not known.creator and known.avoid_until > run.now then at = known.avoid_until end
  local own = keys.state('edits', job)
  if not known.is_paid then redis.call('HSET', own, 'score', score) end
  redis.call('HSET', own, 'state', 'retrying', 'due_at', clock.instant(at), 'unannounced', '1')
  timetable.park('edits', tenant, job, at)
end

function account_choice.has_shared_room(run)
  for _, account in ipairs(run.accounts) do
    if not account.tenants and account.room > 0 then return true end
  end
  return false
end

-- Return whether a job without an account waits for a reason of its own, so that the jobs after it go first.
local function waits_alone(run, owner, known, has_turn)
  if known.creator then return true end
  if known.is_paid then return false end
  if run.now < known.avoid_until then
    return has_turn or owner.fallback == 'never' or not account_choice.has_shared_room(run)
  end
  return has_turn and owner.fallback == 'free_only' and known.is_billed
end

-- Serve the tenant's next job. Return 'given', 'parked', or nil if nothing can be done for it now.
function account_choice.serve_next(run, tenant, has_turn)
  local backlog = keys.lane('edits', 'backlog:' .. tenant)
  local job, score = unpack(redis.call('ZRANGE', backlog, 0, 0, 'WITHSCORES'))
  if not job then return nil end
  local known, owner = facts.read(job), account_choice.owner_of(run, tenant)
  local account, pass, reason = choose(run, owner, known, has_turn)
  if not account and not waits_alone(run, owner, known, has_turn) then return nil end
  redis.call('ZREM', backlog, job)
  if account then
    if known.moved then redis.call('HDEL', keys.state('edits', job), 'moved', 'avoid', 'avoid_until') end
    give(run, tenant, job, score, account, pass, reason)
  else
    account_choice.park(run, tenant, job, score, known)
  end
  return account and 'given' or 'parked'
end

-- Write what this run has changed.
function account_choice.save(run)
  for _, account in ipairs(run.accounts) do
    if account.given then
      gates.note_passed(account, account.given, account.caller, run.now)
      redis.call('HSET', account.gate, 'pass', account.pass)
    end
  end
  for tier in pairs(run.moved_clocks) do redis.call('HSET', all_gates.CLOCKS, tier, run.clocks[tier]) end
end

return account_choice
