-- The gates of all accounts of the endpoint, read for one run of dispatch or rescue, and the choice between them.
-- Keys: rt:edits:gate:{account}, rt:edits:gate, rt:edits:held_by_account, rt:edits:slots, and those of
-- account_books.lua.

local account_books = require_late('account_books')
local account_slots = require_late('account_slots')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')

local account_gates = {}

local NUMBERS = { 'limit', 'rate', 'tokens', 'refilled_at', 'open_until', 'full_until', 'served_until', 'calls_per_day',
  'tier', 'weight', 'pass', 'own_clock', 'follower_until' }
local TEXTS = { 'mode', 'closed', 'tenants', 'removed', 'probing' }
local USUAL = { limit = gates.USUAL_LIMITS.edits, served_until = 0, calls_per_day = 0, tier = 1, weight = 1, pass = 0,
  own_clock = 0, follower_until = 0 }
local NAMES = { unpack(NUMBERS) }
for _, name in ipairs(TEXTS) do NAMES[#NAMES + 1] = name end

-- Read the gate of one account; `is_served`: a living worker holds its key.
function account_gates.of(id, now)
  local gate = gates.of('edits', id)
  local account, values = { id = id, gate = gate }, redis.call('HMGET', gate, unpack(NAMES))
  for at, name in ipairs(NUMBERS) do account[name] = tonumber(values[at] or USUAL[name]) end
  for at, name in ipairs(TEXTS) do account[name] = values[#NUMBERS + at] or nil end
  account.is_served = now < account.served_until
  -- A closed account that is being tested has room for one job, the probe.
  local is_closed = account.closed and not account.probing and now < account.open_until
  account.is_open = account.is_served and not account.mode and not is_closed
  return account
end

local function held_by_account(ids)
  local flat, held, others = redis.call('HGETALL', account_slots().HELD), {}, 0
  for at = 1, #flat, 2 do
    held[flat[at]] = tonumber(flat[at + 1])
    others = others + held[flat[at]]
  end
  held[gates.DEFAULT] = slots.count('edits') - others
  for _, id in ipairs(ids) do held[id] = held[id] or 0 end
  return held
end

-- `room` is for a job that will call the account, `follow_room` for a job that has a paid answer there. A draining
-- account has `follow_room`, since it ends its work. While a job waits for `follow_room`, a slot is kept for it;
-- otherwise new jobs would take each slot that becomes free.
local function measure(account, now)
  local may_follow = account.is_served and account.mode ~= 'paused'
  account.follow_room = may_follow and gates.room(account, account.held, now) or 0
  account.room = account.is_open and account.follow_room or 0
  if now < account.follower_until then account.room = account.room - 1 end
end

function account_gates.ids_of(text)
  local ids = {}
  for id in string.gmatch(text, '%S+') do ids[#ids + 1] = id end
  return ids
end

-- Read the accounts whose ids are in the text, in its order, with the number of slots that each holds and its room.
function account_gates.read(text, now)
  local ids, accounts, calls = account_gates.ids_of(text), {}, nil
  local held = held_by_account(ids)
  for place, id in ipairs(ids) do
    local account = account_gates.of(id, now)
    account.held = held[id]
    measure(account, now)
    if account.room > 0 and account.calls_per_day > 0 then
      calls = calls or account_books().calls_today()
      account.room = math.min(account.room, account.calls_per_day - (calls[id] or 0) - account.held)
    end
    accounts[place] = account
  end
  return accounts
end

local function is_before(one, pass, other, other_pass)
  return one.tier < other.tier or (one.tier == other.tier and pass < other_pass)
end

-- Choose by tier, then by stride: the pass of an account grows by 1 / (weight × limit) with each job, and the account
-- with the lowest pass is next. Therefore weights hold under any load, and an account that fails fast gets no more than
-- its share. `clocks` has the present pass of each tier: an account that had no room for a while continues from there.
function account_gates.best(accounts, clocks, is_candidate)
  local best, best_pass
  for _, account in ipairs(accounts) do
    if is_candidate(account) then
      local pass = math.max(account.pass, clocks[account.tier] or 0)
      if not best or is_before(account, pass, best, best_pass) then best, best_pass = account, pass end
    end
  end
  return best, best_pass
end

function account_gates.stride_of(account) return 1 / (account.weight * account.limit) end

-- Return whether an id is one of those in the text.
function account_gates.is_listed(text, id) return string.find(' ' .. text .. ' ', ' ' .. id .. ' ', 1, true) ~= nil end

account_gates.CLOCKS = keys.lane('edits', 'account_clocks')

return account_gates
