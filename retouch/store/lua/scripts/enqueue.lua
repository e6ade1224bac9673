-- Enqueue jobs: check duplicates and room, write the record, add to the backlog, then dispatch. One call takes many
-- jobs. Only this script and duplicates.lua decide which request gets a job of its own. Safe to call again with the
-- same ids after a lost reply: an id that is on record counts as 'new'.
-- Keys: rt:edits:spec:{job}, rt:jobs:{tenant}, rt:edits:deadlines:{n}, rt:edits:backlog:{tenant}, rt:tenants,
--       rt:tenants_by_time, and those of duplicates.lua, room.lua, job_index.lua, history.lua.
-- ARGV: per job two values: "id tenant boost_s deadline_s fingerprint share_key idempotency_key" (priority is a boost
--       of age in seconds; share_key is '-' if no other request can be an exact duplicate; idempotency_key may be
--       empty) and the spec (JSON), or '' to look up the idempotency key only.
-- Returns {result per job, messages}; a result is 'new', 'replayed <id>' (the key's earlier job), 'shared <id>' (an
--         exact duplicate's job), 'conflict' (the key came with another request), 'full backlog' / 'full budget', or
--         'absent' (the key is new; nothing was enqueued, since the spec was empty).
local headings_and_specs = ARGV

local batch = require('batch')
local clock = require('clock')
local deadlines = require('deadlines')
local dispatch = require('dispatch')
local duplicates = require('duplicates')
local fairness = require('fairness')
local history = require('history')
local job_index = require('job_index')
local keys = require('keys')
local room = require('room')
local slots = require('slots')

local HEADING = '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$'
local now = clock.now()
local at = clock.instant(now)
local results, rooms, joined = {}, {}, {}

local function index_by(kind, tenant, value, id)
  local own = job_index.by(kind, tenant, value)
  batch.add('ZADD', own, at, id)
  batch.add('ZADD NX', job_index.all_of(tenant), at, own)
end

local function index(id, tenant, spec)
  batch.add('ZADD', job_index.by('state', tenant, 'open'), at, id)
  if not (string.find(spec, '"tags":{"', 1, true) or string.find(spec, '"receivers":["', 1, true)) then return end
  local wanted = cjson.decode(spec)
  for name, value in pairs(wanted.tags or {}) do index_by('tag', tenant, name .. '=' .. value, id) end
  for _, receiver in ipairs(wanted.receivers or {}) do index_by('receiver', tenant, receiver, id) end
end

local function room_for(tenant)
  if not rooms[tenant] then
    local left, reason = room.left(tenant, true)
    rooms[tenant] = { left = left, reason = reason }
  end
  return rooms[tenant]
end

-- Up to 500 jobs come in one call, so that no table is made for one.
local function enqueue(heading, spec)
  local id, tenant, boost_s, deadline_s, fingerprint, share_key, idem = string.match(heading, HEADING)
  local idem_name, share_name = duplicates.idem_name(tenant, idem), duplicates.share_name(tenant, share_key)
  local result = duplicates.find(id, fingerprint, idem_name, share_name, spec)
  if result then return result end
  local its_room, spec_name = room_for(tenant), keys.spec('edits', id)
  if its_room.left <= 0 and redis.call('EXISTS', spec_name) == 0 then return 'full ' .. its_room.reason end
  if not redis.call('SET', spec_name, spec, 'NX') then return 'new' end  -- it is on record already
  its_room.left = its_room.left - 1
  duplicates.remember(id, fingerprint, idem_name, share_name)
  batch.add('ZADD', 'rt:jobs:' .. tenant, at, id)
  index(id, tenant, spec)
  batch.add('RPUSH', deadlines.list_at(now + deadline_s), id)
  batch.add('ZADD', keys.lane('edits', 'backlog:' .. tenant), boost_s == '0' and at or clock.instant(now - boost_s), id)
  joined[tenant] = (joined[tenant] or 0) + 1
  return 'new'
end

for place = 1, #headings_and_specs, 2 do
  results[#results + 1] = enqueue(headings_and_specs[place], headings_and_specs[place + 1])
end
batch.flush()
for tenant, count in pairs(joined) do
  redis.call('SADD', 'rt:tenants', tenant)
  redis.call('ZADD', 'rt:tenants_by_time', at, tenant)
  history.count_of_group('enqueued', tenant, count, now)
  fairness.join('edits', tenant)
end
deadlines.begin(now)
dispatch.run('edits', now)
return { results, slots.messages }
