-- The backlog: items that wait for a slot, by group. Keys: rt:L:backlog:{group}.

local checkpoints = require('checkpoints')
local fairness = require('fairness')
local keys = require('keys')
local slots = require('slots')
local targets = require_late('targets')
local timetable = require('timetable')

local backlog = {}

-- A delivery is put in by its target, which gives it a group when its turn comes: `group` is the target's name then.
function backlog.put(lane, group, item, score)
  if lane == 'deliveries' then return targets().put(group, item, score) end
  redis.call('ZADD', keys.lane(lane, 'backlog:' .. group), checkpoints.is_paid(lane, item) and 0 or score, item)
  fairness.join(lane, group)
end

-- Take an item that nobody has claimed out of wherever it waits.
function backlog.withdraw(lane, group, item)
  redis.call('ZREM', keys.lane(lane, 'backlog:' .. group), item)
  timetable.unpark(lane, group, item)
  slots.release(lane, group, item)
end

return backlog
