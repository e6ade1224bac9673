-- A lease is a slot that a worker has claimed; it expires unless the worker renews it. Each slot has the instant at
-- which rescue must examine it. Keys: rt:L:slots, rt:L:state:{item}.

local clock = require('clock')
local keys = require('keys')

local leases = {}

function leases.hold_until(lane, item, at) redis.call('ZADD', keys.lane(lane, 'slots'), clock.instant(at), item) end

-- `known` begins with the fields `fence` and `state` of the item.
function leases.is_current(known, fence) return known[1] == fence and known[2] == 'running' end

-- Return true while the caller's lease is valid: nobody has claimed the item since.
function leases.is_held(lane, item, fence)
  return leases.is_current(redis.call('HMGET', keys.state(lane, item), 'fence', 'state'), fence)
end

return leases
