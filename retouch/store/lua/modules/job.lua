-- Jobs: events, the end of a job, charges. Loaded behind job_index.lua in front of every script that moves a job.
-- Keys: `edits` lane keys, rt:timeline:{job}, rt:feed, rt:jobs:{tenant}, rt:receivers:{tenant}, rt:receiver:{id},
-- rt:deliveries_of:{job}, rt:deliveries_by_tenant:{tenant}, rt:blobs, rt:blobs:{tenant} and the `deliveries` lane.

local FINAL = { succeeded = true, failed = true, cancelled = true }
local DELIVERY_LIFE_S = 30 * 86400      -- the log of deliveries is kept for 30 days
local DELIVERY_SCHEDULE_S = 100 * 3600  -- a job outlives its deliveries' schedule (75 h), whatever its retention

-- What is a job's own and lives as long as its record.
local function keys_of(job) return { key('edits', 'spec:' .. job), state_key('edits', job), 'rt:timeline:' .. job } end

-- A job that was over is open again: its record has no end. Called while the record still says how it ended.
local function reopen(job)
  index_reopened(job)
  redis.call('ZREM', 'rt:edits:dead', job)
  for _, name in ipairs(keys_of(job)) do redis.call('PERSIST', name) end
end

local function charges_of(item)
  local text = redis.call('HGET', state_key('edits', item), 'charges')
  return text and cjson.decode(text) or {}
end

local function save_charges(item, charges)
  redis.call('HSET', state_key('edits', item), 'charges', cjson.encode(charges))
end

-- How many POSTs of this job may have been billed: paid answers, unknown ones and those with no answer on record.
local function possible_charges(charges)
  local possible = 0
  for _, charge in ipairs(charges) do
    if not is_free(charge.class) then possible = possible + 1 end
  end
  return possible
end

local function receiver_wants(receiver, type)
  local known = redis.call('HMGET', 'rt:receiver:' .. receiver, 'disabled', 'events')
  if known[1] == '1' then return false end
  if not known[2] or known[2] == '' then return FINAL[string.sub(type, 6)] or false end
  return string.find(',' .. known[2] .. ',', ',' .. type .. ',', 1, true) ~= nil
end

local function deliver(job, sequence, type, receiver, tenant, now)
  local of_job = 'rt:deliveries_of:' .. job
  local item = 'dl_' .. string.sub(job, 4) .. '-' .. sequence .. '-' .. redis.call('LLEN', of_job)
  local spec = cjson.encode({ job = job, sequence = sequence, type = type, receiver = receiver, tenant = tenant })
  redis.call('SET', key('deliveries', 'spec:' .. item), spec)
  redis.call('RPUSH', of_job, item)
  redis.call('EXPIRE', of_job, DELIVERY_LIFE_S)
  local target = targets.of(receiver, tenant)
  redis.call('HSET', state_key('deliveries', item), 'target', target, 'score', instant(now), 'state', 'queued',
    'created_at', instant(now))
  redis.call('ZADD', 'rt:deliveries:recent', instant(now), item)
  redis.call('ZADD', 'rt:deliveries_by_tenant:' .. tenant, instant(now), item)
  put('deliveries', target, item, instant(now))
end

-- Put an event on record: the job's timeline, the feed, and one delivery for every receiver that wants it.
-- `details` is the JSON text of further members, starting with a comma, or ''.
local function event(job, tenant, type, now, details)
  local entry = '{"type":"' .. type .. '","at":' .. instant(now) .. details .. '}'
  local sequence = redis.call('RPUSH', 'rt:timeline:' .. job, entry)
  redis.call('XADD', 'rt:feed', 'MINID', '~', string.format('%.0f', (now - DELIVERY_LIFE_S) * 1000), '*',
    'job', job, 'sequence', sequence, 'type', type, 'tenant', tenant)
  local known = {}
  local function tell(receiver, asked)
    if known[receiver] or not (asked or receiver_wants(receiver, type)) then return end
    known[receiver] = true
    deliver(job, sequence, type, receiver, tenant, now)
  end
  local spec = cjson.decode(redis.call('GET', key('edits', 'spec:' .. job)) or '{}')
  local asked = FINAL[string.sub(type, 6)] or false
  for _, wanted in ipairs(spec.events or {}) do asked = asked or wanted == type end
  if asked then
    for _, receiver in ipairs(spec.receivers or {}) do
      tell(receiver, redis.call('HGET', 'rt:receiver:' .. receiver, 'disabled') ~= '1')
    end
    if spec.callback then tell('task:' .. spec.callback, true) end
  end
  for _, receiver in ipairs(redis.call('SMEMBERS', 'rt:receivers:' .. tenant)) do tell(receiver, false) end
  dispatch('deliveries', now)
  return next(known) ~= nil
end

-- The names of a result's images: the first, and the others of the same answer.
local function images_of(result)
  local image = cjson.decode(result)
  local names = { image.name }
  for _, other in ipairs(image.others or {}) do names[#names + 1] = other.name end
  return names
end

-- The names of images that were brought home before a job ended without all of them: a replay goes on from these.
local function images_brought(job)
  local checkpoint, names = redis.call('HGET', state_key('edits', job), 'checkpoint'), {}
  if not checkpoint or checkpoint == '' then return names end
  for _, one in ipairs(cjson.decode(checkpoint).brought or {}) do
    if type(one[2]) == 'table' then names[#names + 1] = one[2].name end
  end
  return names
end

-- Keep a job's images until then, as its tenant's own.
local function keep_images(tenant, names, until_at)
  if #names == 0 then return end
  local entries, at = {}, instant(until_at)
  for _, name in ipairs(names) do
    entries[#entries + 1] = at
    entries[#entries + 1] = name
  end
  redis.call('ZADD', 'rt:blobs', 'GT', unpack(entries))
  redis.call('ZADD', 'rt:blobs:' .. tenant, 'GT', unpack(entries))
end

-- End a job: state, counts, dead letter, event, and from now on a TTL on all that is its own.
local function finish(job, tenant, state, now, retention_s, error, result)
  release('edits', tenant, job)
  local own = state_key('edits', job)
  local known = redis.call('HMGET', own, 'charges', 'created_at')
  local charges = known[1] and cjson.decode(known[1]) or {}
  index_end(job, tenant, state, known[2] or instant(now), error, now)
  local when = #charges > 0 and possible_charges(charges) > 0 and 'after_charge' or 'before_charge'
  redis.call('HSET', own, 'group', tenant, 'state', state, 'message_requested', '0', 'finished_at', instant(now))
  if state == 'cancelled' then redis.call('HSET', own, 'cancelled', when) end
  if error ~= '' then redis.call('HSET', own, 'error', error) else redis.call('HDEL', own, 'error') end
  if result ~= '' then redis.call('HSET', own, 'result', result) end
  redis.call('HINCRBY', 'rt:edits:counts', state, 1)
  if state == 'failed' then redis.call('ZADD', 'rt:edits:dead', instant(now), job) end
  local details = ',"charges":' .. (#charges > 0 and cjson.encode(charges) or '[]')
    .. (error ~= '' and ',"error":' .. error or '') .. (result ~= '' and ',"result":' .. result or '')
    .. (state == 'cancelled' and ',"cancelled":"' .. when .. '"' or '')
  if #charges > 0 then
    local spec = cjson.decode(redis.call('GET', key('edits', 'spec:' .. job)) or '{}')
    money.book(job, tenant, spec.tags, charges, result ~= '')
  end
  local told = event(job, tenant, 'edit.' .. state, now, details)
  local life_s = math.ceil(told and math.max(retention_s, DELIVERY_SCHEDULE_S) or retention_s)
  for _, name in ipairs(keys_of(job)) do redis.call('EXPIRE', name, life_s) end
  keep_images(tenant, result ~= '' and images_of(result) or images_brought(job), now + life_s)
end
