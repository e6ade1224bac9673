-- Put jobs in: duplicates, room, record, backlog, then dispatch. One call, many jobs. Which request gets a job of its
-- own is decided here alone.
-- ARGV: per job two values: "id tenant boost_s deadline_s fingerprint share_key idempotency_key" (priority is a boost of
--       age in seconds; share_key is '-' where no other request can be an exact duplicate; the last may be empty) and
--       the spec (JSON), or '' to ask only what the idempotency key leads to.
-- Returns {result per job, messages}; a result is 'new', 'replayed <id>' (the key's earlier job), 'shared <id>' (an
-- exact duplicate's job), 'conflict' (the key came with another request), 'full backlog' / 'full budget', or 'absent'
-- (the key is new; nothing was put in, as the spec was empty).
-- Safe to call again with the same ids after a lost reply: an id that is on record counts as 'new'.
local REMEMBERED_S, BUCKET_S = 86400, 5
local HEADING = '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$'
local now = now_s()
local at = instant(now)
local results, lists, rooms, shares, joined = {}, {}, {}, {}, {}

-- Values that go to one key are collected, so that 500 jobs cost a few commands; Lua unpacks some thousands at most.
local COLLECTED_MOST = 2000
local function collect(command, name, first, second)
  local list = lists[name]
  if not list then
    list = { command, name }
    lists[name] = list
  end
  list[#list + 1] = first
  list[#list + 1] = second
  if #list > COLLECTED_MOST then
    redis.call(unpack(list))
    lists[name] = nil
  end
end

local function index(id, tenant, spec)
  collect('ZADD', index_by('state', tenant, 'open'), at, id)
  if not string.find(spec, '"tags":{"', 1, true) then return end
  local own = 'rt:job_indexes:' .. tenant
  for name, value in pairs(cjson.decode(spec).tags or {}) do
    local by_tag = index_by('tag', tenant, name .. '=' .. value)
    collect('ZADD', by_tag, at, id)
    lists[own] = lists[own] or { 'ZADD', own, 'NX' }
    collect('ZADD', own, at, by_tag)
  end
end

local function shares_duplicates(tenant)
  if shares[tenant] == nil then shares[tenant] = redis.call('HGET', 'rt:sharing', tenant) == '1' end
  return shares[tenant]
end

-- A job is worth sharing while it may still yield an image, or has one that is kept.
local function is_worth_sharing(job)
  if redis.call('EXISTS', key('edits', 'spec:' .. job)) == 0 then return false end
  local state, cancel, result = unpack(redis.call('HMGET', state_key('edits', job), 'state', 'cancel', 'result'))
  if cancel == '1' or state == 'failed' or state == 'cancelled' then return false end
  if state ~= 'succeeded' then return true end
  return result and redis.call('ZSCORE', 'rt:blobs', cjson.decode(result).name)
end

local function remember(name, value) redis.call('SET', name, value, 'EX', REMEMBERED_S) end

-- Return the result for a request that needs no job of its own, or nil.
local function without_own_job(id, fingerprint, idem_name, share_name, spec)
  local bound = idem_name and redis.call('GET', idem_name)
  if bound then
    local earlier, first_fingerprint = string.match(bound, '^(%S+) (%S+)$')
    if earlier == id then return 'new' end
    return first_fingerprint == fingerprint and 'replayed ' .. earlier or 'conflict'
  end
  if spec == '' then return 'absent' end
  local holder = share_name and redis.call('GET', share_name)
  if not holder or holder == id or not is_worth_sharing(holder) then return nil end
  if idem_name then remember(idem_name, holder .. ' ' .. fingerprint) end
  return 'shared ' .. holder
end

local function room_for(tenant)
  if not rooms[tenant] then
    local room, reason = room_left(tenant, true)
    rooms[tenant] = { left = room, reason = reason }
  end
  return rooms[tenant]
end

-- Up to 500 jobs come in one call, so that no table is made for one.
local function enqueue(heading, spec)
  local id, tenant, boost_s, deadline_s, fingerprint, share_key, idem = string.match(heading, HEADING)
  local idem_name = idem ~= '' and 'rt:idem:' .. tenant .. ':' .. idem
  local share_name = share_key ~= '-' and shares_duplicates(tenant) and 'rt:shared:' .. tenant .. ':' .. share_key
  local result = without_own_job(id, fingerprint, idem_name, share_name, spec)
  if result then return result end
  local room, spec_name = room_for(tenant), 'rt:edits:spec:' .. id
  if room.left <= 0 and redis.call('EXISTS', spec_name) == 0 then return 'full ' .. room.reason end
  if not redis.call('SET', spec_name, spec, 'NX') then return 'new' end  -- it is on record already
  room.left = room.left - 1
  if idem_name then remember(idem_name, id .. ' ' .. fingerprint) end
  if share_name then remember(share_name, id) end
  collect('ZADD', 'rt:jobs:' .. tenant, at, id)
  index(id, tenant, spec)
  collect('RPUSH', 'rt:edits:deadlines:' .. math.floor((now + deadline_s) / BUCKET_S), id)
  collect('ZADD', 'rt:edits:backlog:' .. tenant, boost_s == '0' and at or instant(now - boost_s), id)
  joined[tenant] = true
  return 'new'
end

for place = 1, #ARGV, 2 do results[#results + 1] = enqueue(ARGV[place], ARGV[place + 1]) end
for _, list in pairs(lists) do redis.call(unpack(list)) end
for tenant in pairs(joined) do
  redis.call('SADD', 'rt:tenants', tenant)
  join('edits', tenant)
end
redis.call('HSETNX', 'rt:edits:gate', 'deadlines_swept', math.floor(now / BUCKET_S) - 1)
dispatch('edits', now)
return { results, messages }
