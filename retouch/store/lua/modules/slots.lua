-- Slots: the right to be in flight. While there are several accounts of the endpoint, the slot of a job belongs to the
-- job's account. Keys: rt:L:slots, rt:L:state:{item}, rt:edits:held_by_account.

local account_slots = require_late('account_slots')
local breaker = require('breaker')
local budgets = require('budgets')
local clock = require('clock')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local leases = require('leases')
local targets = require_late('targets')

local slots = {}

slots.MESSAGE_GRACE_S = 2  -- a message not claimed by then may be lost: it is sent again (duplicates are harmless)

-- The messages that the script's caller must send, each "queue item".
slots.messages = {}

function slots.count(lane) return redis.call('ZCARD', keys.lane(lane, 'slots')) end

-- Ask the caller to send one message for an item that holds a slot, to the queue of the lane or of the item's account.
function slots.request_message(lane, item, claimed_by, account)
  redis.call('HSET', keys.state(lane, item), 'message_requested', '1')
  leases.hold_until(lane, item, claimed_by)
  local queue = account and account ~= gates.DEFAULT and lane .. '.' .. account or lane
  slots.messages[#slots.messages + 1] = queue .. ' ' .. item
end

-- Give a slot to an item that left the backlog; `account` and `reason` are nil if there is only one account. Return the
-- item if it will call the endpoint, or nil. Also return true, with nothing done, for a paid job from a time of several
-- accounts.
function slots.give(lane, group, item, score, now, account, reason)
  local own = keys.state(lane, item)
  local checkpoint, former = unpack(redis.call('HMGET', own, 'checkpoint', 'account'))
  local is_paid = checkpoint and checkpoint ~= ''
  if former and is_paid and not account then return nil, true end
  fairness.count_slot(lane, group, 1)
  if account or former then account_slots().note(item, group, account, reason, former) end
  redis.call('HSET', own, 'group', group, 'state', 'queued', 'dispatched_at', clock.instant(now))
  if not is_paid then
    redis.call('HSET', own, 'score', score)
    if lane == 'edits' then budgets.reserve(item, group) end
  end
  slots.request_message(lane, item, now + slots.MESSAGE_GRACE_S, account)
  return not is_paid and item or nil
end

-- Take the item's slot back, if it holds one.
function slots.release(lane, group, item)
  if redis.call('ZREM', keys.lane(lane, 'slots'), item) == 0 then return end
  if lane == 'edits' then
    local reserved_on, account = unpack(redis.call('HMGET', keys.state(lane, item), 'reserved', 'account'))
    budgets.release_reservation(item, group, reserved_on)
    breaker.end_probe(gates.of(lane, account), item)
    if account then account_slots().count(account, -1) end
  end
  fairness.count_slot(lane, group, -1)
  if lane == 'deliveries' then targets().leave(item) end
  fairness.join(lane, group)
end

return slots
