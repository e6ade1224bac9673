-- Dispatch: free slots go to the next items of a lane. Used by lane `edits` (group = tenant) and lane `deliveries`
-- (group = tenant; `~tenant` for its unproven targets). Keys: rt:L:backlog:{group}, rt:L:state:{item}.

local budgets = require('budgets')
local checkpoints = require('checkpoints')
local clock = require('clock')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')

local dispatch = {}

-- How many slots the line may give now.
local function free_slots(turn, bounds, now)
  local free = gates.room(bounds, slots.count(turn.lane), now)
  if turn.line == '' then return free end
  return math.min(free, turn.unproven_limit - fairness.held_by_unproven(turn.lane))
end

-- Give a slot to an item that left the backlog. Return the item if it will call the endpoint, or nil.
local function give_slot(turn, group, item, score, now)
  local own, is_paid = keys.state(turn.lane, item), checkpoints.is_paid(turn.lane, item)
  fairness.count_slot(turn.lane, group, 1)
  if not is_paid then
    redis.call('HSET', own, 'score', score)
    if turn.lane == 'edits' then budgets.reserve(item, group) end
  end
  redis.call('HSET', own, 'group', group, 'state', 'queued', 'dispatched_at', clock.instant(now))
  slots.request_message(turn.lane, item, now + slots.MESSAGE_GRACE_S)
  return not is_paid and item or nil
end

-- Lowest pass first, then priority and age within the group.
local function serve(lane, line, now)
  if redis.call('ZCARD', keys.lane(lane, 'ready' .. line)) == 0 then return end
  local turn = fairness.read(lane, line)
  if turn.is_paused then return end
  local bounds = gates.read(gates.of(lane), lane)
  local free, given, caller = free_slots(turn, bounds, now), 0, nil
  while given < free do
    local group, pass = fairness.first(turn)
    if not group then break end
    -- Asked again here: a limit or budget may have been lowered since the group joined.
    local held = fairness.held_by(lane, group)
    local next_up = fairness.may_take(turn, group, held)
      and redis.call('ZPOPMIN', keys.lane(lane, 'backlog:' .. group)) or {}
    if #next_up == 0 then
      fairness.rest(turn, group, pass)
    else
      given, turn.clock = given + 1, pass
      caller = give_slot(turn, group, next_up[1], next_up[2], now) or caller
      fairness.move_on(turn, group, held + 1)
    end
  end
  if given == 0 then return end
  fairness.save_clock(turn)
  gates.note_passed(bounds, given, caller, now)
end

function dispatch.run(lane, now)
  if lane == 'deliveries' then serve(lane, fairness.UNPROVEN, now) end
  serve(lane, '', now)
end

return dispatch
