-- Dispatch while there are several accounts of the endpoint: fairness.lua says whose turn it is, and the job gets a
-- slot of an account that has room. A tenant's own accounts serve it first and out of turn, since nobody else may use
-- them; then the shared ones go to the tenants in turn. What waits for one account alone waits in the timetable, so
-- that the jobs behind it go on. No cache and no randomness: all is read here, at the last moment.
-- Keys: rt:edits:backlog:{tenant}, rt:edits:ready, rt:edits:resting, rt:edits:state:{job}, rt:edits:account_clocks, and
-- those of account_gates.lua, account_jobs.lua.

local account_gates = require_late('account_gates')
local account_jobs = require_late('account_jobs')
local clock = require('clock')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')
local timetable = require('timetable')

local account_dispatch = {}

local ACCOUNT_WAIT_S = 1.5  -- until a job that waits for one account asks again

local choice, jobs  -- the two modules above, made once

-- What one run knows: the line, the accounts by id and in order, and the clocks of the tiers.
local function begin(turn, now)
  choice = account_gates()
  jobs = account_jobs()
  local run = { turn = turn, now = now, by_id = {}, owners = {}, clocks = {}, moved_clocks = {} }
  run.accounts = choice.read(turn.accounts, now)
  local flat = redis.call('HGETALL', choice.CLOCKS)
  for at = 1, #flat, 2 do run.clocks[tonumber(flat[at])] = tonumber(flat[at + 1]) end
  for _, account in ipairs(run.accounts) do run.by_id[account.id] = account end
  return run
end

local function owner_of(run, tenant)
  local owner = run.owners[tenant] or jobs.owner(tenant)
  run.owners[tenant] = owner
  return owner
end

local function best(run, is_candidate) return choice.best(run.accounts, run.clocks, is_candidate) end

-- Choose the account for a job that may call one. Return it, its pass, and the reason.
local function choose_to_call(run, owner, known, has_turn)
  local avoid = run.now < known.avoid_until and known.avoid
  local account, pass = best(run, function(one) return one.room > 0 and one.id ~= avoid and owner.own[one.id] end)
  if account then return account, pass, known.moved or 'own' end
  if not has_turn then return nil end
  account, pass = best(run, function(one)
    return one.room > 0 and one.id ~= avoid and jobs.may_use(owner, known, one)
  end)
  return account, pass, account and (known.moved or 'tier ' .. account.tier)
end

-- Choose the account for a job. `has_turn`: the shared accounts are its tenant's to use now.
local function choose(run, owner, known, has_turn)
  if known.creator then
    local creator = run.by_id[known.creator]
    return creator and creator.follow_room > 0 and creator or nil, nil, 'sticky'
  end
  if not known.is_paid then return choose_to_call(run, owner, known, has_turn) end
  -- A download calls no account: any slot will do, the own ones first.
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
  account.pass = pass + choice.stride_of(account)
  if account.tenants then return end
  run.clocks[account.tier], run.moved_clocks[account.tier] = pass, true
end

-- Let a job wait for its account in the timetable, without an attempt; it keeps its place in the backlog.
local function park(run, tenant, job, score, known)
  local at = run.now + ACCOUNT_WAIT_S
  if not known.creator and known.avoid_until > run.now then at = known.avoid_until end
  local own = keys.state('edits', job)
  if not known.is_paid then redis.call('HSET', own, 'score', score) end
  redis.call('HSET', own, 'state', 'retrying', 'due_at', clock.instant(at), 'unannounced', '1')
  timetable.park('edits', tenant, job, at)
end

local function has_shared_room(run)
  for _, account in ipairs(run.accounts) do
    if not account.tenants and account.room > 0 then return true end
  end
  return false
end

-- Whether a job without an account waits for a reason of its own, so that those behind it go first.
local function waits_alone(run, owner, known, has_turn)
  if known.creator then return true end
  if known.is_paid then return false end
  if run.now < known.avoid_until then return has_turn or owner.fallback == 'never' or not has_shared_room(run) end
  return has_turn and owner.fallback == 'free_only' and known.is_billed
end

-- Serve the tenant's next job. Return 'given', 'parked', or nil when nothing can be done for it now.
local function serve_next(run, tenant, has_turn)
  local backlog = keys.lane('edits', 'backlog:' .. tenant)
  local job, score = unpack(redis.call('ZRANGE', backlog, 0, 0, 'WITHSCORES'))
  if not job then return nil end
  local known, owner = jobs.read(job), owner_of(run, tenant)
  local account, pass, reason = choose(run, owner, known, has_turn)
  if not account and not waits_alone(run, owner, known, has_turn) then return nil end
  redis.call('ZREM', backlog, job)
  if account then
    if known.moved then redis.call('HDEL', keys.state('edits', job), 'moved', 'avoid', 'avoid_until') end
    give(run, tenant, job, score, account, pass, reason)
  else
    park(run, tenant, job, score, known)
  end
  return account and 'given' or 'parked'
end

local function may_take(run, tenant)
  return fairness.may_take(run.turn, tenant, fairness.held_by('edits', tenant))
    and redis.call('ZCARD', keys.lane('edits', 'backlog:' .. tenant)) > 0
end

-- A tenant that was served out of turn keeps its pass; with nothing to do it leaves the line.
local function stay_in_line(run, tenant)
  if may_take(run, tenant) then return end
  local pass = tonumber(redis.call('ZSCORE', run.turn.ready, tenant) or nil)
  redis.call('ZREM', run.turn.ready, tenant)
  if pass and pass < fairness.LAST then redis.call('ZADD', run.turn.resting, pass, tenant) end
end

-- The owner of an account whose turn it is there: stride scheduling among its owners, as among all tenants.
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
    local outcome = serve_next(run, tenant, false)
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

-- Return true when the tenant's turn moved the clock.
local function serve_turn(run, tenant, pass)
  local turn = run.turn
  if owner_of(run, tenant).fallback == 'never' then
    redis.call('ZADD', turn.ready, fairness.LAST, tenant)
    return false
  end
  local outcome = may_take(run, tenant) and serve_next(run, tenant, true)
  if outcome == 'given' then
    turn.clock = pass
    fairness.move_on(turn, tenant, fairness.held_by('edits', tenant))
  elseif not outcome then
    fairness.rest(turn, tenant, pass)
  end
  return outcome == 'given'
end

local function save(run)
  for _, account in ipairs(run.accounts) do
    if account.given then
      gates.note_passed(account, account.given, account.caller, run.now)
      redis.call('HSET', account.gate, 'pass', account.pass)
    end
  end
  for tier in pairs(run.moved_clocks) do redis.call('HSET', choice.CLOCKS, tier, run.clocks[tier]) end
end

-- There is one account again, and this paid job was on another one. What has only to be downloaded gets a slot; what is
-- to be polled waits for its account, as nobody else can be asked about it. Return true if it got a slot.
function account_dispatch.give_foreign(tenant, job, score, now)
  local known = account_jobs().read(job)
  if known.creator and known.creator ~= gates.DEFAULT then
    park({ now = now }, tenant, job, score, known)
    return false
  end
  redis.call('HDEL', keys.state('edits', job), 'account', 'account_reason')
  slots.give('edits', tenant, job, score, now)
  return true
end

function account_dispatch.serve(turn, now)
  local run, is_moved = begin(turn, now), false
  for _, account in ipairs(run.accounts) do
    if account.tenants then serve_owners(run, account) end
  end
  while has_shared_room(run) do
    local tenant, pass = fairness.first(turn)
    if not tenant or pass >= fairness.LAST then break end
    is_moved = serve_turn(run, tenant, pass) or is_moved
  end
  if is_moved then fairness.save_clock(turn) end
  save(run)
end

return account_dispatch
