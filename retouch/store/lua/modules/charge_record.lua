-- The record of a job's charges: for each POST the number of its lease, the instant of its intent, the class of its
-- answer, and, with several accounts, its account and what a call cost there. Keys: rt:edits:state:{job}.

local clock = require('clock')
local keys = require('keys')

local charge_record = {}

local REFUSALS_KEPT = 20  -- a job may be refused for a day, every few seconds

-- Parse the field `charges` of a job's state; return an empty list if the field is missing.
function charge_record.read(text) return text and cjson.decode(text) or {} end

function charge_record.of(job) return charge_record.read(redis.call('HGET', keys.state('edits', job), 'charges')) end

-- Return whether any charge was made while there were several accounts.
function charge_record.names_account(charges)
  for _, charge in ipairs(charges) do
    if charge.account then return true end
  end
  return false
end

-- By one command with the raw answer, if there is one ('' for none).
local function save(job, charges, raw_answer)
  local own, text = keys.state('edits', job), cjson.encode(charges)
  if raw_answer == '' then redis.call('HSET', own, 'charges', text)
  else redis.call('HSET', own, 'charges', text, 'raw_answer', raw_answer) end
end

-- Return whether an answer of this class proves that the POST cost nothing; a missing answer does not.
function charge_record.is_free(class) return class == 'refused' or class == 'failed' end

-- Return how many POSTs may have been billed: those with a paid, an unknown or no answer on record.
function charge_record.count_possible(charges)
  local possible = 0
  for _, charge in ipairs(charges) do
    if not charge_record.is_free(charge.class) then possible = possible + 1 end
  end
  return possible
end

-- Return whether the lease has written its intent already.
function charge_record.is_intended(charges, fence)
  local last = charges[#charges]
  return last and last.fence == tonumber(fence)
end

-- `account` and `price` are nil or false with only one account, whose price is in the settings.
function charge_record.add_intent(job, charges, fence, account, price, now)
  local intent_at = tonumber(clock.instant(now))
  charges[#charges + 1] = { fence = tonumber(fence), intent_at = intent_at, account = account or nil,
    price = price and tonumber(price) or nil }
  save(job, charges, '')
end

local function find(charges, fence)
  for place, charge in ipairs(charges) do
    if charge.fence == tonumber(fence) then return place, charge end
  end
  return nil, nil
end

-- Remove a refused charge of a job that has many of them; those before a replay are counted in `forgiven`.
local function drop_refusal(job, charges, place)
  table.remove(charges, place)
  local own = keys.state('edits', job)
  local forgiven = tonumber(redis.call('HGET', own, 'forgiven') or 0)
  if place <= forgiven then redis.call('HSET', own, 'forgiven', forgiven - 1) end
end

-- Write the class of the answer to the POST of that lease, and the answer as it came. Return by how many calls this
-- changes the job's cost (-1, 0 or 1), the instant of the intent, and the account.
function charge_record.add_answer(job, charges, fence, class, raw_answer, now)
  local place, charge = find(charges, fence)
  if not charge then return 0, nil, nil end
  local was_free, is_free = charge_record.is_free(charge.class), charge_record.is_free(class)
  charge.class, charge.answered_at = class, tonumber(clock.instant(now))
  if class == 'refused' and #charges > REFUSALS_KEPT then drop_refusal(job, charges, place) end
  save(job, charges, raw_answer)
  if was_free == is_free then return 0, nil, charge.account end
  return is_free and -1 or 1, charge.intent_at, charge.account
end

return charge_record
