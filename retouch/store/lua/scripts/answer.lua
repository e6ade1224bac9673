-- Write the endpoint's answer to a POST, and the checkpoint. A late paid answer is adopted if the job has no result:
-- then the next claim continues from it, and a job that had already failed is put back.
-- Keys: rt:edits:state:{job}, rt:edits:account_calls:{day}, and those of the modules.
-- ARGV: job, fence (of the caller's lease), class, checkpoint (JSON or ''), health (about the endpoint: 'full', 'ok',
--       'alive', 'down', 'closed CODE' or ''), fence of the lease that POSTed, '1' if the endpoint could not read the
--       picture and gets our copy next, the answer as it came (JSON of raw_answers.py or '').
-- Returns {'ok', or 'late' when the lease was lost meanwhile; messages; seconds if this opened the breaker, or '';
--         'account.closed' or 'account.opened' if it did that to the account, or ''}.
local job, fence, class, checkpoint, health, charge_fence, reads_copy, raw_answer = unpack(ARGV)

local account_books = require_late('account_books')
local budgets = require('budgets')
local charge_record = require('charge_record')
local checkpoints = require('checkpoints')
local clock = require('clock')
local endpoint_health = require('endpoint_health')
local gates = require('gates')
local history = require('history')
local keys = require('keys')
local leases = require('leases')

local now = clock.now()
local own = keys.state('edits', job)
local known = redis.call('HMGET', own, 'fence', 'state', 'group', 'account', 'charges')
local is_held, tenant, slot_account = leases.is_current(known, fence), known[3] or '', known[4]

-- The buckets of the duration of a POST; history_counts.py has the same bounds.
local BOUNDS = '0.5 1 2 3 4 5 6 8 10 15 20 30 60 120'

-- Count the answer before its class is written into the charge: a repeated script counts nothing. An answer
-- `processing` is followed by another class when the polls are over.
local function note_answer(charges)
  for _, charge in ipairs(charges) do
    if charge.fence == tonumber(charge_fence) and charge.class ~= class then
      local names = 'answers:' .. class
      if not charge.class then names = names .. '+endpoint:' .. history.bound(now - charge.intent_at, BOUNDS) end
      history.count(names, charge.account, tenant, 1, now)
    end
  end
end

local charges = charge_record.read(known[5])
note_answer(charges)
local by, intent_at, charge_account = charge_record.add_answer(job, charges, charge_fence, class, raw_answer, now)
-- The job may be on another account by now; the answer concerns the account that was called.
local account = charge_account or slot_account
if by ~= 0 then
  budgets.correct(tenant, intent_at, by)
  if charge_account then account_books().count_call(charge_account, intent_at, by) end
  local fairness = require('fairness')
  fairness.join('edits', tenant)
end
local gate = gates.of('edits', account)
local opened, event = endpoint_health.learn(gate, account, job, health, charge_record.is_free(class), now)

if not is_held then
  local adoption = require('adoption')
  local slots = require('slots')
  adoption.take_late_answer(job, tenant, checkpoint, charge_fence, charges, now)
  return { 'late', slots.messages, opened, event }
end
if checkpoint ~= '' then checkpoints.keep(job, checkpoint, charge_fence) end
if reads_copy == '1' then redis.call('HSET', own, 'reads_copy', '1') end
return { 'ok', {}, opened, event }
