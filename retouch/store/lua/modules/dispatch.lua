-- Dispatch gives the free slots of a lane to its next items. A group is a tenant; in lane `deliveries` it may also be
-- `~tenant`, for the tenant's unproven targets. With several accounts of the endpoint, account_dispatch.lua serves lane
-- `edits`. Keys: rt:L:backlog:{group}.

local account_dispatch = require_late('account_dispatch')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')
local slots = require('slots')

local dispatch = {}

-- Return how many slots the line may give now.
local function free_slots(turn, bounds, now)
  local free = gates.room(bounds, slots.count(turn.lane), now)
  if turn.line == '' then return free end
  return math.min(free, turn.unproven_limit - fairness.held_by_unproven(turn.lane))
end

-- Serve the next item of a group. Return 1 if it got a slot, else 0; and the item if it will call the endpoint.
local function serve_group(turn, group, pass, now)
  -- Checked again here, since a limit or budget may have been lowered after the group joined the line.
  local held = fairness.held_by(turn.lane, group)
  local next_up = fairness.may_take(turn, group, held)
    and redis.call('ZPOPMIN', keys.lane(turn.lane, 'backlog:' .. group)) or {}
  if #next_up == 0 then
    fairness.rest(turn, group, pass)
    return 0
  end
  local caller, is_foreign = slots.give(turn.lane, group, next_up[1], next_up[2], now)
  if is_foreign and not account_dispatch().give_foreign(group, next_up[1], next_up[2], now) then return 0 end
  turn.clock = pass
  fairness.move_on(turn, group, held + 1)
  return 1, caller
end

-- Serve the group with the lowest pass first. Within a group, priority and age decide.
local function serve(lane, line, now)
  if redis.call('ZCARD', keys.lane(lane, 'ready' .. line)) == 0 then return end
  local turn = fairness.read(lane, line)
  if turn.is_paused then return end
  if turn.accounts then return account_dispatch().serve(turn, now) end
  local bounds = gates.read(gates.of(lane), lane)
  local free, given, caller = free_slots(turn, bounds, now), 0, nil
  while given < free do
    local group, pass = fairness.first(turn)
    if not group then break end
    local served, called = serve_group(turn, group, pass, now)
    given, caller = given + served, called or caller
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
