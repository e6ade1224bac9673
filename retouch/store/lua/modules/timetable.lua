-- The timetable: items that wait without a slot until they are due.
-- Keys: rt:L:timetable, rt:jobs_by_state:{tenant}:retrying.

local clock = require('clock')
local job_index = require('job_index')
local keys = require('keys')
local slots = require('slots')

local timetable = {}

-- Let an item wait until `at`, and take its slot back. The waiting jobs of a tenant have an index, with which room.lua
-- counts them; deliveries need no such index.
function timetable.park(lane, group, item, at)
  redis.call('ZADD', keys.lane(lane, 'timetable'), clock.instant(at), item)
  if lane == 'edits' then
    redis.call('ZADD', job_index.retrying(group), redis.call('HGET', keys.state(lane, item), 'created_at'), item)
  end
  slots.release(lane, group, item)
end

function timetable.unpark(lane, group, item)
  redis.call('ZREM', keys.lane(lane, 'timetable'), item)
  if lane == 'edits' then redis.call('ZREM', job_index.retrying(group), item) end
end

return timetable
