-- Put jobs in: idempotency check, record, backlog, then dispatch. One call, many jobs.
-- ARGV: per job two values: "id tenant boost_s deadline_s fingerprint idempotency_key" (priority is a boost of age in
--       seconds; the key may be empty) and the spec (JSON).
-- Returns {verdict per job, messages}; a verdict is 'new', 'same <id>' (an earlier job answers), 'conflict', or
-- 'full backlog' / 'full budget': the tenant has no room for it.
-- Safe to call again with the same ids after a lost reply: an id that is on record counts as 'new'.
local IDEMPOTENCY_S, BUCKET_S = 86400, 5
local now = now_s()
local at = instant(now)
local verdicts, lists = {}, {}

-- Values that go to one key are collected, so that 500 jobs cost a few commands.
local function collect(command, name, first, second)
  local list = lists[name]
  if not list then
    list = { command, name }
    lists[name] = list
  end
  list[#list + 1] = first
  list[#list + 1] = second
end

local function verdict_on(id, idem_key, fingerprint)
  local earlier = idem_key and redis.call('GET', idem_key)
  if not earlier then return nil end
  local earlier_id, earlier_print = string.match(earlier, '^(%S+) (%S+)$')
  if earlier_id == id then return 'new' end
  return earlier_print == fingerprint and 'same ' .. earlier_id or 'conflict'
end

-- How many more jobs a tenant may put in, and what bounds it: its backlog limit, or its calls left today less the jobs
-- that already wait for them.
local rooms = {}
local function room_of(tenant)
  if not rooms[tenant] then
    local room, reason = math.huge, ''
    local waiting = redis.call('ZCARD', 'rt:edits:backlog:' .. tenant)
    local most = tonumber(redis.call('HGET', 'rt:edits:backlog_limits', tenant) or nil)
    if most then room, reason = most - waiting, 'backlog' end
    local left = money.left(tenant)
    if left and left - waiting < room then room, reason = left - waiting, 'budget' end
    rooms[tenant] = { room = room, reason = reason }
  end
  return rooms[tenant]
end

local HEADING = '^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$'
local tenants = {}
for place = 1, #ARGV, 2 do
  local id, tenant, boost_s, deadline_s, fingerprint, idem = string.match(ARGV[place], HEADING)
  local idem_key = idem ~= '' and 'rt:idem:' .. tenant .. ':' .. idem
  local verdict = verdict_on(id, idem_key, fingerprint)
  local room = room_of(tenant)
  if not verdict and room.room <= 0 and redis.call('EXISTS', 'rt:edits:spec:' .. id) == 0 then
    verdict = 'full ' .. room.reason
  end
  if not verdict then
    verdict = 'new'
    if redis.call('SET', 'rt:edits:spec:' .. id, ARGV[place + 1], 'NX') then  -- else it is on record
      room.room = room.room - 1
      if idem_key then redis.call('SET', idem_key, id .. ' ' .. fingerprint, 'EX', IDEMPOTENCY_S) end
      collect('ZADD', 'rt:jobs:' .. tenant, at, id)
      collect('RPUSH', 'rt:edits:deadlines:' .. math.floor((now + deadline_s) / BUCKET_S), id)
      collect('ZADD', 'rt:edits:backlog:' .. tenant, boost_s == '0' and at or instant(now - boost_s), id)
      tenants[tenant] = true
    end
  end
  verdicts[#verdicts + 1] = verdict
end
for _, list in pairs(lists) do redis.call(unpack(list)) end
for tenant in pairs(tenants) do
  redis.call('SADD', 'rt:tenants', tenant)
  join('edits', tenant)
end
redis.call('HSETNX', 'rt:edits:gate', 'deadlines_swept', math.floor(now / BUCKET_S) - 1)
dispatch('edits', now)
return { verdicts, messages }
