-- Gates bound the items in flight. A gate is a hash; the functions about its limit, rate, breaker and rest take its
-- name. Each lane has a gate. Its hash also has the fields of the whole lane (pause, fairness, sweeps), which other
-- modules read. The lane's gate is that of the account `default` too; every other account of the endpoint has a gate of
-- its own. Keys: rt:L:gate, rt:edits:gate:{account}.

local breaker = require('breaker')
local keys = require('keys')
local rate = require('rate')

local gates = {}

gates.DEFAULT = 'default'  -- the account whose names have no suffix
gates.USUAL_LIMITS = { edits = 5, deliveries = 16 }  -- until a worker sets another one

-- Return the gate that an item of the lane passes; `account` is that of the item, or false.
function gates.of(lane, account)
  if not account or account == gates.DEFAULT then return keys.lane(lane, 'gate') end
  return keys.lane(lane, 'gate:' .. account)
end

-- Return the fields of a gate that limit the next dispatch through it.
function gates.read(gate, lane)
  local names = { 'limit', 'rate', 'tokens', 'refilled_at', 'open_until', 'full_until' }
  local values = redis.call('HMGET', gate, unpack(names))
  local bounds = { gate = gate }
  for at, name in ipairs(names) do bounds[name] = tonumber(values[at] or nil) end
  bounds.limit = bounds.limit or gates.USUAL_LIMITS[lane]
  return bounds
end

-- Return how many more items the gate lets through if so many are in flight. If the time of an open breaker is over, it
-- lets one through: the probe.
function gates.room(bounds, in_flight, now)
  if now < math.max(bounds.open_until or 0, bounds.full_until or 0) then return 0 end
  local room = math.floor(math.min(bounds.limit - in_flight, rate.tokens(bounds, now)))
  return bounds.open_until and math.min(room, 1) or room
end

-- Record that items were let through; `caller` is one of them that will call the endpoint, or nil.
function gates.note_passed(bounds, count, caller, now)
  if bounds.open_until and caller then breaker.begin_probe(bounds.gate, caller, now) end
  rate.spend(bounds, count, now)
end

return gates
