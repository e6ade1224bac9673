-- Put jobs in: idempotency check, record, backlog, then dispatch. One call, many jobs.
-- ARGV: per job seven values: id, tenant, boost_s (priority as seconds of age), deadline_s, idempotency key or '',
--       fingerprint of the request, spec (JSON).
-- Returns {verdict per job, messages}; a verdict is 'new', 'same <id>' (an earlier job answers) or 'conflict'.
-- Safe to call again with the same ids after a lost reply: an id that is on record counts as 'new'.
local IDEMPOTENCY_S = 86400
local BUCKET_S = 5
local now = now_s()
local verdicts, joined, seen = {}, {}, {}

local function put_in(id, tenant, boost_s, deadline_s, spec)
  redis.call('ZADD', 'rt:jobs:' .. tenant, instant(now), id)
  redis.call('RPUSH', 'rt:edits:deadlines:' .. math.floor((now + deadline_s) / BUCKET_S), id)
  redis.call('ZADD', key('edits', 'backlog:' .. tenant), instant(now - boost_s), id)
  joined[tenant] = true
end

for at = 1, #ARGV, 7 do
  local id, tenant, boost_s, deadline_s, idem, fingerprint, spec = unpack(ARGV, at, at + 6)
  local verdict = 'new'
  local idem_key = 'rt:idem:' .. tenant .. ':' .. idem
  local earlier = idem ~= '' and redis.call('GET', idem_key)
  if earlier then
    local earlier_id, earlier_print = string.match(earlier, '^(%S+) (%S+)$')
    verdict = earlier_print == fingerprint and 'same ' .. earlier_id or 'conflict'
    if earlier_id == id then verdict = 'new' end
  elseif redis.call('SET', key('edits', 'spec:' .. id), spec, 'NX') then
    if idem ~= '' then redis.call('SET', idem_key, id .. ' ' .. fingerprint, 'EX', IDEMPOTENCY_S) end
    put_in(id, tenant, tonumber(boost_s), tonumber(deadline_s), spec)
  end
  verdicts[#verdicts + 1] = verdict
end
for tenant in pairs(joined) do
  redis.call('SADD', 'rt:tenants', tenant)
  join('edits', tenant)
end
redis.call('HSETNX', 'rt:edits:gate', 'deadlines_swept', math.floor(now / BUCKET_S) - 1)
dispatch('edits', now)
return { verdicts, messages }
