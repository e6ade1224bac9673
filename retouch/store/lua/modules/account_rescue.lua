-- Rescue with several accounts of the endpoint, or with jobs from a time of several: it finds jobs that wait for an
-- account which will not serve them. Keys: rt:edits:state:{job}, rt:edits:spec:{job}, rt:edits:gate, rt:edits:ready,
-- rt:edits:backlog:{tenant}, and those of account_gates.lua, account_jobs.lua, timetable.lua.

local account_gates = require_late('account_gates')
local account_jobs = require_late('account_jobs')
local backlog = require('backlog')
local clock = require('clock')
local gates = require('gates')
local keys = require('keys')
local leases = require('leases')
local slots = require('slots')
local specs = require('specs')
local timetable = require('timetable')

local account_rescue = {}

local HOLD_S = 2  -- until a poll of a paused account is looked at again
local KEPT_S = 4  -- a slot for a job that waits for it, until it has asked again
local FOLLOWERS_MOST = 1000

-- Return the account, or nil if the lane has no account with this id.
local function find(accounts, id, now)
  local choice = account_gates()
  if not choice.is_listed(accounts or gates.DEFAULT, id) then return nil end
  local account = choice.of(id, now)
  if not accounts then account.is_served, account.is_open = true, true end  -- one account: nothing is asked of it
  return account
end

local function take_back(job, tenant)
  slots.release('edits', tenant, job)
  redis.call('HSET', keys.state('edits', job), 'message_requested', '0')
  backlog.put('edits', tenant, job, redis.call('HGET', keys.state('edits', job), 'score') or 0)
end

local function is_past_deadline(job, now)
  local deadline_at, created_at = unpack(redis.call('HMGET', keys.state('edits', job), 'deadline_at', 'created_at'))
  local spec = specs.of('edits', job)
  return spec and now > tonumber(deadline_at or tonumber(created_at or now) + spec.deadline_s)
end

-- Return whether a job past its deadline must be polled at an account that nobody serves: no worker can end it.
function account_rescue.is_lost(job, accounts, now)
  local creator = account_jobs().read(job).creator
  if not creator then return false end
  local account = find(accounts, creator, now)
  return not (account and account.is_served) and is_past_deadline(job, now)
end

-- Examine a job that holds a slot, if nobody claimed its message or its poll is due. Return 'gone' if it is back in the
-- backlog or waits, 'lost' for a job that `is_lost`, or nil if its message must be sent.
function account_rescue.check(job, tenant, account_id, accounts, now)
  local creator = account_jobs().read(job).creator
  local account = find(accounts, account_id, now)
  if creator and creator == account_id then
    if account_rescue.is_lost(job, accounts, now) then return 'lost' end
    if not (account and account.mode == 'paused') then return nil end
    leases.hold_until('edits', job, now + HOLD_S)
    return 'gone'
  end
  local is_kept_out = account and account.closed and account.probing ~= job
  if account and account.is_open and not is_kept_out then return nil end
  take_back(job, tenant)
  return 'gone'
end

local function wait(job, tenant, at)
  redis.call('HSET', keys.state('edits', job), 'state', 'retrying', 'due_at', clock.instant(at), 'unannounced', '1')
  timetable.park('edits', tenant, job, at)
end

local function take_slot(job, tenant, account, now)
  if account.follow_room <= 0 then
    redis.call('HSET', account.gate, 'follower_until', clock.instant(now + KEPT_S))
    return false
  end
  redis.call('HDEL', account.gate, 'follower_until')
  slots.give('edits', tenant, job, 0, now, account.id, 'sticky')
  gates.note_passed(account, 1, nil, now)
  return true
end

-- Give a slot to a job that waits for the account of its checkpoint, without a turn, since it continues work in
-- progress. If that account has no room, the job waits again. Return nil for any other job, 'lost' for one that
-- `is_lost`, else 'gone'.
function account_rescue.follow(job, tenant, accounts, now)
  local creator = account_jobs().read(job).creator
  if not creator or (not accounts and creator == gates.DEFAULT) then return nil end
  if account_rescue.is_lost(job, accounts, now) then return 'lost' end
  local is_paused = redis.call('HGET', gates.of('edits'), 'paused') == '1'
  for _, account in ipairs(account_gates().read(accounts or '', now)) do
    if account.id == creator and not is_paused then
      if take_slot(job, tenant, account, now) then return 'gone' end
    end
  end
  wait(job, tenant, now + HOLD_S)
  return 'gone'
end

-- While an account drains, search the backlog for its paid jobs: only that account's room can end them.
local function find_followers(now)
  for _, tenant in ipairs(redis.call('ZRANGE', keys.lane('edits', 'ready'), 0, FOLLOWERS_MOST)) do
    local name = keys.lane('edits', 'backlog:' .. tenant)
    local job, score = unpack(redis.call('ZRANGE', name, 0, 0, 'WITHSCORES'))
    if job and tonumber(score) == 0 and account_jobs().read(job).creator then
      redis.call('ZREM', name, job)
      wait(job, tenant, now)
    end
  end
end

-- Remove accounts that no file names and nobody serves; return the ids of the others, as a text.
function account_rescue.review(accounts, now)
  local choice = account_gates()
  local stay, is_draining = {}, false
  for _, id in ipairs(choice.ids_of(accounts)) do
    local account = choice.of(id, now)
    if account.is_served or not account.removed then stay[#stay + 1] = id end
    is_draining = is_draining or account.mode == 'draining'
  end
  if is_draining then find_followers(now) end
  local text = table.concat(stay, ' ')
  if text == accounts or text == '' then return accounts end
  redis.call('HSET', gates.of('edits'), 'accounts', text)
  return text
end

return account_rescue
