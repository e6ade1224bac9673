-- Slots: the right to be in flight. Keys: rt:L:slots, rt:L:state:{item}.

local breaker = require('breaker')
local budgets = require('budgets')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local leases = require('leases')
local targets = require('targets')

local slots = {}

slots.MESSAGE_GRACE_S = 2  -- a message not claimed by then may be lost: it is sent again (duplicates are harmless)

-- The messages that the script's caller must send, each "lane item".
slots.messages = {}

function slots.count(lane) return redis.call('ZCARD', keys.lane(lane, 'slots')) end

-- Ask the caller to send one message for an item that holds a slot.
function slots.request_message(lane, item, claimed_by)
  redis.call('HSET', keys.state(lane, item), 'message_requested', '1')
  leases.hold_until(lane, item, claimed_by)
  slots.messages[#slots.messages + 1] = lane .. ' ' .. item
end

-- Give the item's slot back, if it holds one.
function slots.release(lane, group, item)
  if redis.call('ZREM', keys.lane(lane, 'slots'), item) == 0 then return end
  if lane == 'edits' then
    budgets.release_reservation(item, group)
    breaker.end_probe(gates.of(lane), item)
  end
  fairness.count_slot(lane, group, -1)
  if lane == 'deliveries' then targets.leave(item) end
  fairness.join(lane, group)
end

return slots
