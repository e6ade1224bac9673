-- Fairness between groups is stride scheduling: a group's pass grows by 1/weight with each dispatch and the lowest pass
-- goes next. A group that cannot run now rests with its pass, so that it gets no earlier turn when it comes back.
--
-- Groups wait in one of two lines, each with its own order and clock. The line of the unproven groups (`~tenant`, see
-- targets.lua) has at most half of the slots and is served first, so that neither line starves the other. Keys:
-- rt:L:ready, rt:L:resting (both also :unproven), rt:L:held, rt:L:limits, rt:L:weights, rt:L:gate,
-- rt:edits:account_tenants.

local budgets = require('budgets')
local gates = require('gates')
local keys = require('keys')

local fairness = {}

fairness.UNPROVEN = ':unproven'
-- A pass above all others: a tenant that uses only accounts of its own waits for no turn at the shared ones.
fairness.LAST = 1e15
fairness.OWN_ACCOUNTS = 'rt:edits:account_tenants'
fairness.UNPROVEN_START = 8  -- slots of a tenant's unproven targets, to begin with

function fairness.line_of(group) return string.byte(group) == 126 and fairness.UNPROVEN or '' end

-- Read the state of a line: its clock, whether the lane is paused, how many slots groups and lines may hold, the keys
-- of the ready and resting groups, and the ids of the endpoint's accounts if there are several.
function fairness.read(lane, line)
  local gate = keys.lane(lane, 'gate')
  local values = redis.call('HMGET', gate, 'clock' .. line, 'paused', 'group_limit', 'limit', 'accounts')
  local turn = { lane = lane, line = line, clock = tonumber(values[1] or 0), is_paused = values[2] == '1',
    group_limit = tonumber(values[3] or nil) or math.huge, ready = keys.lane(lane, 'ready' .. line),
    resting = keys.lane(lane, 'resting' .. line), accounts = values[5] }
  if lane == 'deliveries' then
    local limit = tonumber(values[4] or nil) or gates.USUAL_LIMITS.deliveries
    turn.unproven_limit = math.max(1, math.floor(limit / 2))
    -- No tenant gets all slots for deliveries, since all of its receivers may begin to hang at once.
    if not values[3] then turn.group_limit = math.ceil(limit * 3 / 4) end
  end
  return turn
end

-- Return how many slots the group may hold.
function fairness.limit_of(turn, group)
  local usual = turn.line == '' and turn.group_limit or fairness.UNPROVEN_START
  return tonumber(redis.call('HGET', keys.lane(turn.lane, 'limits'), group) or nil) or usual
end

function fairness.held_by(lane, group) return tonumber(redis.call('HGET', keys.lane(lane, 'held'), group) or 0) end

-- Return how many slots the groups of the unproven line hold together.
function fairness.held_by_unproven(lane) return fairness.held_by(lane, '~') end

local function add_held(lane, group, by)
  if redis.call('HINCRBY', keys.lane(lane, 'held'), group, by) <= 0 then
    redis.call('HDEL', keys.lane(lane, 'held'), group)
  end
end

-- Count a slot that a group got (1) or gave back (-1).
function fairness.count_slot(lane, group, by)
  add_held(lane, group, by)
  if fairness.line_of(group) ~= '' then add_held(lane, '~', by) end
end

-- Return true while a group that holds so many slots may have one more.
function fairness.may_take(turn, group, held)
  return held < fairness.limit_of(turn, group) and (turn.lane ~= 'edits' or budgets.allows_dispatch(group))
end

function fairness.stride_of(lane, group)
  return 1 / tonumber(redis.call('HGET', keys.lane(lane, 'weights'), group) or 1)
end

-- Let the group join its line, if its backlog is not empty and it may have a slot.
function fairness.join(lane, group)
  local line = fairness.line_of(group)
  if redis.call('ZSCORE', keys.lane(lane, 'ready' .. line), group) then return end
  if redis.call('ZCARD', keys.lane(lane, 'backlog:' .. group)) == 0 then return end
  local turn = fairness.read(lane, line)
  if not fairness.may_take(turn, group, fairness.held_by(lane, group)) then return end
  local pass = tonumber(redis.call('ZSCORE', turn.resting, group) or nil)
  -- A new group starts one turn after the clock: otherwise endless new groups would starve those served before.
  if not pass then pass = turn.clock + fairness.stride_of(lane, group) end
  if turn.accounts and string.find(redis.call('HGET', fairness.OWN_ACCOUNTS, group) or '', '^never ') then
    pass = fairness.LAST
  end
  redis.call('ZREM', turn.resting, group)
  redis.call('ZADD', turn.ready, math.max(pass, turn.clock), group)
end

-- Return the group whose turn it is and its pass, or nil if the line is empty.
function fairness.first(turn)
  local top = redis.call('ZRANGE', turn.ready, 0, 0, 'WITHSCORES')
  return top[1], tonumber(top[2] or nil)
end

function fairness.rest(turn, group, pass)
  redis.call('ZREM', turn.ready, group)
  redis.call('ZADD', turn.resting, pass, group)
end

-- Record that the group had its turn, and how many slots it holds now.
function fairness.move_on(turn, group, held)
  local pass = turn.clock + fairness.stride_of(turn.lane, group)
  local is_empty = redis.call('ZCARD', keys.lane(turn.lane, 'backlog:' .. group)) == 0
  if is_empty or not fairness.may_take(turn, group, held) then fairness.rest(turn, group, pass)
  else redis.call('ZADD', turn.ready, pass, group) end
end

-- Store the clock of a line that gave slots; resting groups that the clock has passed count as new again.
function fairness.save_clock(turn)
  redis.call('HSET', keys.lane(turn.lane, 'gate'), 'clock' .. turn.line, turn.clock)
  redis.call('ZREMRANGEBYSCORE', turn.resting, '-inf', turn.clock)
end

return fairness
