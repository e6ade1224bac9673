-- The backlog: items that wait for a slot, by group. Keys: rt:L:backlog:{group}.

local checkpoints = require('checkpoints')
local fairness = require('fairness')
local keys = require('keys')
local slots = require('slots')
local targets = require_late('targets')
local timetable = require('timetable')

local backlog = {}

-- A delivery is enqueued at its target (`group` is then the target's name), which gives it a group when its turn comes.
function backlog.put(lane, group, item, score)
  if lane == 'deliveries' then return targets().put(group, item, score) end
  redis.call('ZADD', keys.lane(lane, 'backlog:' .. group), checkpoints.is_paid(lane, item) and 0 or score, item)
  fairness.join(lane, group)
end

-- Remove an item that nobody has claimed from wherever it waits.
function backlog.withdraw(lane, group, item)
  redis.call('ZREM', keys.lane(lane, 'backlog:' .. group), item)
  timetable.unpark(lane, group, item)
  slots.release(lane, group, item)
end

return backlog
