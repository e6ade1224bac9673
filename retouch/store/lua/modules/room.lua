-- Room: how many more jobs a tenant may have waiting. Every script that puts a job into the backlog asks here; a paid
-- answer that comes late does not, since its image must not be lost. Loaded behind money.lua.
-- Keys: rt:edits:backlog:{tenant}, rt:jobs_by_state:{tenant}:retrying, rt:edits:backlog_limits.

-- Return the room and what bounds it: 'backlog' (the tenant's limit of waiting jobs) or 'budget' (its calls left today,
-- less the waiting jobs, each of which will need one). A job that needs no call is not bounded by the budget.
local function room_left(tenant, needs_call)
  local room, reason = math.huge, ''
  -- A job that waits for its next attempt is in no backlog, but it will be back there without being asked.
  local waiting = redis.call('ZCARD', key('edits', 'backlog:' .. tenant))
    + redis.call('ZCARD', retrying_key(tenant))
  local most = tonumber(redis.call('HGET', 'rt:edits:backlog_limits', tenant) or nil)
  if most then room, reason = most - waiting, 'backlog' end
  local left = needs_call and money.left(tenant)
  if left and left - waiting <= room then room, reason = left - waiting, 'budget' end
  return room, reason
end
