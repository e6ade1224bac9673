-- Slots: the right to be in flight, and the lease that a worker takes of it. Each slot has the instant at which rescue
-- must look at it. Keys: rt:L:slots, rt:L:state:{item}.

local breaker = require('breaker')
local budgets = require('budgets')
local clock = require('clock')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local targets = require('targets')

local slots = {}

slots.MESSAGE_GRACE_S = 2  -- a message not claimed by then may be lost: it is sent again (duplicates are harmless)

-- The messages that the script's caller must send, each "lane item".
slots.messages = {}

function slots.count(lane) return redis.call('ZCARD', keys.lane(lane, 'slots')) end

function slots.is_held(lane, item) return redis.call('ZSCORE', keys.lane(lane, 'slots'), item) and true or false end

function slots.hold_until(lane, item, at) redis.call('ZADD', keys.lane(lane, 'slots'), clock.instant(at), item) end

-- Ask the caller to send one message for an item that holds a slot.
function slots.request_message(lane, item, claimed_by)
  redis.call('HSET', keys.state(lane, item), 'message_requested', '1')
  slots.hold_until(lane, item, claimed_by)
  slots.messages[#slots.messages + 1] = lane .. ' ' .. item
end

-- True while the caller's lease stands: nobody has claimed the item since.
function slots.has_lease(lane, item, fence)
  local known = redis.call('HMGET', keys.state(lane, item), 'fence', 'state')
  return known[1] == fence and known[2] == 'running'
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
