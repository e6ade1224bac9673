-- Delete the gates of accounts that the lane no longer has and that no worker has served for long. The ledger keeps the
-- charges of these accounts, and their last price of a call, with which usage is summed up.
-- Keys: rt:accounts, rt:edits:gate, rt:edits:gate:{account}, rt:ledger:account:{account}.
-- ARGV: kept_s.
-- Returns how many gates were deleted.
local kept_s = unpack(ARGV)

local clock = require('clock')
local gates = require('gates')

local lane_accounts = ' ' .. (redis.call('HGET', gates.of('edits'), 'accounts') or '') .. ' '
local old_until = clock.now() - tonumber(kept_s)

-- The gate of `default` is that of the lane.
local function is_gone(account)
  if account == gates.DEFAULT or string.find(lane_accounts, ' ' .. account .. ' ', 1, true) then return false end
  return tonumber(redis.call('HGET', gates.of('edits', account), 'served_until') or 0) < old_until
end

local function forget(account)
  local gate, ledger = gates.of('edits', account), 'rt:ledger:account:' .. account
  local price = redis.call('HGET', gate, 'price')
  if price and redis.call('EXISTS', ledger) == 1 then redis.call('HSET', ledger, 'price', price) end
  redis.call('DEL', gate)
  redis.call('SREM', 'rt:accounts', account)
end

local gone = 0
for _, account in ipairs(redis.call('SMEMBERS', 'rt:accounts')) do
  if is_gone(account) then
    forget(account)
    gone = gone + 1
  end
end
return gone
