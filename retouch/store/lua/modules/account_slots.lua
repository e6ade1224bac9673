-- The slots of each account of the endpoint. Those of `default` are not counted: they are what the other accounts
-- leave.
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

-- Write to which account the job's slot belongs, and why; nil if there is only one account again.
function account_slots.note(own, account, reason)
  if account then
    account_slots.count(account, 1)
    redis.call('HSET', own, 'account', account, 'account_reason', reason)
  else
    redis.call('HDEL', own, 'account', 'account_reason')
  end
end

return account_slots
