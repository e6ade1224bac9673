-- The lane: one slot-limited line of work. Loaded in front of every script; used by lane `edits` (group = tenant)
-- and lane `deliveries` (group = tenant; `~tenant` for its unproven targets, see targets.lua). Keys: the table in retouch/store/keys.py. The clock is Redis' own, so
-- that workers whose clocks differ agree. Scripts collect the messages that their caller must send in `messages`.

local DEFAULTS = { edits = 5, deliveries = 16 }
local UNPROVEN_START = 8      -- slots of a tenant's unproven targets, to begin with
local MESSAGE_GRACE_S = 2     -- a message not claimed by then may be lost: it is sent again (duplicates are harmless)
local MESSAGE_GRACE_CAP_S = 10
local PROBE_S = 30            -- an open breaker lets one job through; if nothing is heard of it by then, another one
local messages = {}
local money = {}              -- budgets of lane `edits`: see money.lua
local targets = {}            -- hosts that deliveries go to: see targets.lua

local function key(lane, name) return 'rt:' .. lane .. ':' .. name end

local function state_key(lane, item) return 'rt:' .. lane .. ':state:' .. item end

local function now_s()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- A job whose answer is paid for needs no call, only its image: it goes first, and no budget counts it.
local function is_paid(lane, item)
  local checkpoint = lane == 'edits' and redis.call('HGET', state_key(lane, item), 'checkpoint')
  return checkpoint and checkpoint ~= ''
end

local function instant(seconds) return string.format('%.3f', seconds) end

local function hold_until(lane, item, at) redis.call('ZADD', key(lane, 'slots'), instant(at), item) end

-- Ask the caller to send one message for an item that holds a slot.
local function request_message(lane, item, at)
  redis.call('HSET', state_key(lane, item), 'message_requested', '1')
  hold_until(lane, item, at)
  messages[#messages + 1] = lane .. ' ' .. item
end

-- Groups stand in one of two lines, each with its own order and clock: the unproven have at most half of the slots, and
-- are asked first, so that neither line starves the other.
local function line_of(group) return string.byte(group) == 126 and ':unproven' or '' end

local function gate_of(lane, line)
  local names = { 'limit', 'group_limit', 'paused', 'rate', 'tokens', 'refilled_at', 'open_until', 'full_until',
    'clock' .. line }
  local values = redis.call('HMGET', key(lane, 'gate'), unpack(names))
  local gate = {}
  for i, name in ipairs(names) do gate[name] = tonumber(values[i] or nil) end
  gate.limit = gate.limit or DEFAULTS[lane]
  gate.unproven_limit = math.max(1, math.floor(gate.limit / 2))
  -- No tenant has all slots of the deliveries: its receivers may begin to hang all at once.
  if lane == 'deliveries' then gate.group_limit = gate.group_limit or math.ceil(gate.limit * 3 / 4) end
  gate.group_limit = gate.group_limit or math.huge
  gate.clock = gate['clock' .. line] or 0
  return gate
end

local function limit_of(lane, group, gate)
  local usual = line_of(group) == '' and gate.group_limit or UNPROVEN_START
  return tonumber(redis.call('HGET', key(lane, 'limits'), group) or nil) or usual
end

-- Fairness is stride scheduling: a group's pass grows by 1/weight with each dispatch and the lowest pass goes next.
-- A group that cannot run now rests with its pass, so that leaving and coming back does not jump the line.
local function rest(lane, group, pass)
  redis.call('ZREM', key(lane, 'ready' .. line_of(group)), group)
  redis.call('ZADD', key(lane, 'resting' .. line_of(group)), pass, group)
end

-- True while a group that holds so many slots may have one more.
local function may_take(lane, group, gate, held)
  return held < limit_of(lane, group, gate) and (lane ~= 'edits' or money.allows_dispatch(group))
end

local function join(lane, group)
  local line = line_of(group)
  if redis.call('ZSCORE', key(lane, 'ready' .. line), group) then return end
  if redis.call('ZCARD', key(lane, 'backlog:' .. group)) == 0 then return end
  local gate = gate_of(lane, line)
  if not may_take(lane, group, gate, tonumber(redis.call('HGET', key(lane, 'held'), group) or 0)) then return end
  local pass = tonumber(redis.call('ZSCORE', key(lane, 'resting' .. line), group) or nil)
  -- A newcomer stands one turn behind the clock: newcomers without end would starve those who were served before.
  if not pass then pass = gate.clock + 1 / tonumber(redis.call('HGET', key(lane, 'weights'), group) or 1) end
  redis.call('ZREM', key(lane, 'resting' .. line), group)
  redis.call('ZADD', key(lane, 'ready' .. line), math.max(pass, gate.clock), group)
end

-- A delivery is put in by its target, which gives it a group when its turn comes.
local function put(lane, group, item, score)
  if lane == 'deliveries' then return targets.put(group, item, score) end
  redis.call('ZADD', key(lane, 'backlog:' .. group), is_paid(lane, item) and 0 or score, item)
  join(lane, group)
end

-- Tokens of the rate gate: refilled by time, at most one second's worth saved up. No rate: no bound.
local function tokens_of(gate, now)
  if not gate.rate or gate.rate <= 0 then return math.huge end
  local most = math.max(1, gate.rate)
  local since = now - (gate.refilled_at or 0)
  if since < 0 then return most end  -- the clock was set back
  return math.min(most, (gate.tokens or most) + since * gate.rate)
end

-- Count a slot of the unproven line, which has a limit of its own.
local function count_unproven(lane, group, by)
  if line_of(group) == '' then return end
  if redis.call('HINCRBY', key(lane, 'held'), '~', by) <= 0 then redis.call('HDEL', key(lane, 'held'), '~') end
end

-- Give free slots to the next items of a line: lowest pass first, then priority and age within the group.
local function serve(lane, line, now)
  local ready = key(lane, 'ready' .. line)
  if redis.call('ZCARD', ready) == 0 then return end
  local gate = gate_of(lane, line)
  if gate.paused == 1 or now < math.max(gate.open_until or 0, gate.full_until or 0) then return end
  local tokens = tokens_of(gate, now)
  local free = math.floor(math.min(gate.limit - redis.call('ZCARD', key(lane, 'slots')), tokens))
  if gate.open_until then free = math.min(free, 1) end
  if line ~= '' then
    free = math.min(free, gate.unproven_limit - tonumber(redis.call('HGET', key(lane, 'held'), '~') or 0))
  end
  local given, probe = 0, nil
  while given < free do
    local top = redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES')
    if #top == 0 then break end
    local group, pass = top[1], tonumber(top[2])
    local backlog = key(lane, 'backlog:' .. group)
    -- Asked again here: a limit or budget may have been lowered since the group joined.
    local held = tonumber(redis.call('HGET', key(lane, 'held'), group) or 0)
    local item = may_take(lane, group, gate, held) and redis.call('ZPOPMIN', backlog) or {}
    if #item == 0 then
      rest(lane, group, pass)
    else
      given = given + 1
      gate.clock = pass
      local weight = tonumber(redis.call('HGET', key(lane, 'weights'), group) or 1)
      redis.call('HINCRBY', key(lane, 'held'), group, 1)
      count_unproven(lane, group, 1)
      local own = state_key(lane, item[1])
      if not is_paid(lane, item[1]) then
        probe = item[1]
        redis.call('HSET', own, 'score', item[2])
        if lane == 'edits' then money.reserve(item[1], group) end
      end
      if not may_take(lane, group, gate, held + 1) or redis.call('ZCARD', backlog) == 0 then
        rest(lane, group, pass + 1 / weight)
      else
        redis.call('ZADD', ready, pass + 1 / weight, group)
      end
      redis.call('HSET', own, 'group', group, 'state', 'queued', 'dispatched_at', instant(now))
      request_message(lane, item[1], now + MESSAGE_GRACE_S)
    end
  end
  if given == 0 then return end
  redis.call('HSET', key(lane, 'gate'), 'clock' .. line, gate.clock)
  if gate.open_until and probe then
    redis.call('HSET', key(lane, 'gate'), 'open_until', instant(now + PROBE_S), 'probing', probe)
  end
  if tokens < math.huge then
    redis.call('HSET', key(lane, 'gate'), 'tokens', tokens - given, 'refilled_at', instant(now))
  end
  redis.call('ZREMRANGEBYSCORE', key(lane, 'resting' .. line), '-inf', gate.clock)
end

local function dispatch(lane, now)
  if lane == 'deliveries' then serve(lane, ':unproven', now) end
  serve(lane, '', now)
end

-- Behind an open breaker the probe alone may call; what was dispatched before it opened waits again.
local function may_post(job)
  local gate = redis.call('HMGET', 'rt:edits:gate', 'open_until', 'probing')
  return not gate[1] or gate[2] == job
end

-- A probe that ends before the endpoint said anything to it (cancelled, or out of time) leaves its turn to another job.
local function end_probe(job)
  if redis.call('HGET', 'rt:edits:gate', 'probing') ~= job then return end
  redis.call('HDEL', 'rt:edits:gate', 'probing')
  redis.call('HSET', 'rt:edits:gate', 'open_until', 0)
end

-- Give the item's slot back, if it holds one.
local function release(lane, group, item)
  if redis.call('ZREM', key(lane, 'slots'), item) == 0 then return end
  if lane == 'edits' then
    money.release_reservation(item, group)
    end_probe(item)
  end
  if redis.call('HINCRBY', key(lane, 'held'), group, -1) <= 0 then redis.call('HDEL', key(lane, 'held'), group) end
  count_unproven(lane, group, -1)
  if lane == 'deliveries' then targets.leave(item) end
  join(lane, group)
end

local function retrying_key(tenant) return 'rt:jobs_by_state:' .. tenant .. ':retrying' end

-- Take an item out of the timetable.
local function unpark(lane, group, item)
  redis.call('ZREM', key(lane, 'timetable'), item)
  if lane == 'edits' then redis.call('ZREM', retrying_key(group), item) end
end

-- Take an item that nobody has claimed out of wherever it waits.
local function withdraw(lane, group, item)
  redis.call('ZREM', key(lane, 'backlog:' .. group), item)
  unpark(lane, group, item)
  release(lane, group, item)
end

-- Let an item wait without a slot until `at`. A tenant's parked jobs are on a list of their own, so that room.lua can
-- count them at once; no limit is asked of receivers.
local function park(lane, group, item, at)
  redis.call('ZADD', key(lane, 'timetable'), instant(at), item)
  if lane == 'edits' then
    redis.call('ZADD', retrying_key(group), redis.call('HGET', state_key(lane, item), 'created_at'), item)
  end
  release(lane, group, item)
end

-- True while the caller's lease stands: nobody has claimed the item since.
local function holds(lane, item, fence)
  local now_held = redis.call('HMGET', state_key(lane, item), 'fence', 'state')
  return now_held[1] == fence and now_held[2] == 'running'
end
