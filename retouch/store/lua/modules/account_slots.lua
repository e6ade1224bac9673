-- The slots of each account of the endpoint. Those of `default` are not counted: it holds what the others do not.
-- Keys: rt:edits:held_by_account, rt:edits:state:{job}.

local gates = require('gates')

local account_slots = {}

account_slots.HELD = 'rt:edits:held_by_account'

function account_slots.count(account, by)
  if account == gates.DEFAULT then return end
  if redis.call('HINCRBY', account_slots.HELD, account, by) <= 0 then
    redis.call('HDEL', account_slots.HELD, account)
  end
end

-- Write which account the job's slot is of, and why; nil where there is one account again.
function account_slots.note(own, account, reason)
  if account then
    account_slots.count(account, 1)
    redis.call('HSET', own, 'account', account, 'account_reason', reason)
  else
    redis.call('HDEL', own, 'account', 'account_reason')
  end
end

return account_slots
