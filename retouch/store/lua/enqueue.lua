-- Put jobs in: idempotency check, record, backlog, then dispatch. One call, many jobs.
-- ARGV: per job two values: "id tenant boost_s deadline_s fingerprint idempotency_key" (priority is a boost of age in
--       seconds; the key may be empty) and the spec (JSON).
-- Returns {verdict per job, messages}; a verdict is 'new', 'same <id>' (an earlier job answers) or 'conflict'.
-- Safe to call again with the same ids after a lost reply: an id that is on record counts as 'new'.
local IDEMPOTENCY_S, BUCKET_S = 86400, 5
local now = now_s()
local at = instant(now)
local verdicts, lists = {}, {}

-- Values that go to one key are collected, so that 500 jobs cost a few commands.
local function collect(command, name, ...)
  local list = lists[name]
  if not list then
    list = { command, name }
    lists[name] = list
  end
  for _, value in ipairs({ ... }) do list[#list + 1] = value end
end

local function verdict_on(id, idem_key, fingerprint)
  local earlier = idem_key and redis.call('GET', idem_key)
  if not earlier then return nil end
  local earlier_id, earlier_print = string.match(earlier, '^(%S+) (%S+)$')
  if earlier_id == id then return 'new' end
  return earlier_print == fingerprint and 'same ' .. earlier_id or 'conflict'
end

local tenants = {}
for place = 1, #ARGV, 2 do
  local id, tenant, boost_s, deadline_s, fingerprint, idem = string.match(ARGV[place], '^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  local idem_key = idem ~= '' and 'rt:idem:' .. tenant .. ':' .. idem
  local verdict = verdict_on(id, idem_key, fingerprint)
  if not verdict then
    verdict = 'new'
    if redis.call('SET', 'rt:edits:spec:' .. id, ARGV[place + 1], 'NX') then
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
