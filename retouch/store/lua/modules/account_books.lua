-- Counts for each account of the endpoint: its calls of each day, and its charges by class. Keys:
-- rt:edits:account_calls:{day}, rt:ledger:account:{account}, rt:ledger_accounts:{tenant}, rt:edits:state:{job}, the
-- gate's hash.

local charge_record = require('charge_record')
local clock = require('clock')
local gates = require('gates')
local keys = require('keys')

local account_books = {}

local CALLS_LIFE_S = 3 * clock.DAY_S

local function calls_key(day) return keys.lane('edits', 'account_calls:' .. day) end

-- Change the number of calls on the day of `intent_at`: 1 for a new or charged call, -1 for one that was free.
function account_books.count_call(account, intent_at, by)
  local name = calls_key(math.floor(intent_at / clock.DAY_S))
  redis.call('HINCRBY', name, account, by)
  redis.call('EXPIRE', name, CALLS_LIFE_S)
end

-- Count a new call; return what it costs, or false if the gate has no price.
function account_books.begin_call(account, gate, now)
  account_books.count_call(account, now, 1)
  return redis.call('HGET', gate, 'price')
end

-- The calls of all accounts today, by account.
function account_books.calls_today()
  local flat, calls = redis.call('HGETALL', calls_key(clock.today())), {}
  for at = 1, #flat, 2 do calls[flat[at]] = tonumber(flat[at + 1]) end
  return calls
end

-- Return 'account_spent' if the account has no call left today, else nil.
function account_books.why_not(account, gate)
  local most = tonumber(redis.call('HGET', gate, 'calls_per_day') or 0)
  local is_left = most == 0 or tonumber(redis.call('HGET', calls_key(clock.today()), account) or 0) < most
  return not is_left and 'account_spent' or nil
end

-- Return the charge that yielded the image: the one from which the job resumed, else the last certain one.
local function useful_charge(job, charges)
  local resumed_from, useful = tonumber(redis.call('HGET', keys.state('edits', job), 'checkpoint_of') or nil), nil
  for _, charge in ipairs(charges) do
    local is_certain = charge.class == 'succeeded' or charge.class == 'processing'
    if is_certain and charge.fence == resumed_from then return charge end
    if is_certain then useful = charge end
  end
  return useful
end

-- Return the class that the ledger has for a charge, or nil for a charge that cost nothing.
local function class_of(charge, useful, has_image)
  if charge_record.is_free(charge.class) then return nil end
  if charge.class ~= 'succeeded' and charge.class ~= 'processing' then return 'unknown' end
  if not has_image then return 'wasted' end
  return charge == useful and 'useful' or 'repeated'
end

-- Return the sums of a job's charges by account: "account class" → count.
local function sums_of(job, charges, has_image)
  local useful, sums = useful_charge(job, charges), {}
  for _, charge in ipairs(charges) do
    local class = class_of(charge, useful, has_image)
    local name = class and (charge.account or gates.DEFAULT) .. ' ' .. class
    if name then sums[name] = (sums[name] or 0) + 1 end
  end
  return sums
end

-- Return the charges of a job that are in the ledger already: "account class" → count. `before` has them by class:
-- those of a time with one account are of `default`.
local function booked_before(own, before)
  local booked = redis.call('HGET', own, 'booked_by_account')
  if booked then return cjson.decode(booked) end
  local sums = {}
  for class, count in pairs(before) do sums[gates.DEFAULT .. ' ' .. class] = count end
  return sums
end

-- Write the charges of a job that is over into the ledger of accounts, as ledger.lua does by tenant. Charges that are
-- already there are not written again. Return what has changed, as a list of { account, class, by }.
function account_books.book(job, tenant, charges, has_image, before)
  local own = keys.state('edits', job)
  local booked = booked_before(own, before)
  local sums, day, changes = sums_of(job, charges, has_image), clock.today(), {}
  for name in pairs(booked) do sums[name] = sums[name] or 0 end
  for name, count in pairs(sums) do
    local account, class = string.match(name, '^(%S+) (%S+)$')
    local by = count - (booked[name] or 0)
    if by ~= 0 then
      redis.call('HINCRBY', 'rt:ledger:account:' .. account, day .. ' ' .. class, by)
      redis.call('HINCRBY', 'rt:ledger_accounts:' .. tenant, day .. ' ' .. name, by)
      changes[#changes + 1] = { account = account, class = class, by = by }
    end
  end
  redis.call('HSET', own, 'booked_by_account', cjson.encode(sums))
  return changes
end

return account_books
