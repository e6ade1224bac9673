"""The Lua script with which `seeding.py` copies its templates, a thousand jobs in each call."""

SCRIPT = """
local first, count, total, since, span = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local templates, tenants, crowd, life = cjson.decode(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]

local lists, counts = {}, {}

-- One command a key for all jobs of the call.
local function collect(key, score, member)
  local list = lists[key] or { 'ZADD', key }
  lists[key] = list
  list[#list + 1], list[#list + 2] = score, member
end

local function count_in(key, field, by)
  counts[key] = counts[key] or {}
  counts[key][field] = (counts[key][field] or 0) + (by or 1)
end

-- The template of a job, by shares of a thousand; the last kind is for three jobs.
local function kind_of(number)
  if number % math.floor(total / 3) == 7 then return templates[#templates], true end
  local place = (number * 7919 + math.floor(number / 1000) * 31) % 1000
  for _, template in ipairs(templates) do
    if place < template.share then return template, false end
    place = place - template.share
  end
end

local function filled(text, values) return (string.gsub(text, '@(%a+)@', values)) end

local function filled_all(list, values)
  local texts = {}
  for place, text in ipairs(list) do texts[place] = filled(text, values) end
  return texts
end

local function hash_of(fields, values, overrides)
  local flat = filled_all(fields, values)
  for place = 1, #flat, 2 do flat[place + 1] = overrides[flat[place]] or flat[place + 1] end
  return flat
end

local function index(id, tenant, at, template, values, account)
  collect('rt:jobs:' .. tenant, at, id)
  collect('rt:jobs_by_state:' .. tenant .. ':' .. template.state, at, id)
  local function by(kind, value)
    local key = 'rt:jobs_by_' .. kind .. ':' .. tenant .. ':' .. value
    collect(key, at, id)
    collect('rt:job_indexes:' .. tenant, at, key)
  end
  by('tag', 'order=' .. values.order)
  by('tag', 'campaign=' .. values.campaign)
  if values.receiver then by('receiver', values.receiver) end
  if account ~= 'default' and template.state ~= 'open' then by('account', account) end
  if template.state == 'failed' then
    by('code', template.name)
    collect('rt:edits:dead', at, id)
  end
  if template.state == 'open' then collect('rt:edits:backlog:' .. tenant, at, id) end
end

local function deliver(id, tenant, at, template, values)
  local delivery, item = template.delivery, 'dl_' .. string.sub(id, 4) .. '-1-0'
  local spec = string.gsub(delivery.spec, 'ed_template', id)
  redis.call('SET', 'rt:deliveries:spec:' .. item, filled(spec, values), 'EX', life)
  local own = 'rt:deliveries:state:' .. item
  redis.call('HSET', own, unpack(hash_of(delivery.fields, values, { created_at = at, score = at, finished_at = at })))
  redis.call('EXPIRE', own, life)
  redis.call('RPUSH', 'rt:deliveries:log:' .. item, unpack(delivery.log))
  redis.call('EXPIRE', 'rt:deliveries:log:' .. item, life)
  redis.call('RPUSH', 'rt:deliveries_of:' .. id, item)
  redis.call('EXPIRE', 'rt:deliveries_of:' .. id, life)
  collect('rt:deliveries:recent', at, item)
  collect('rt:deliveries_by_tenant:' .. tenant, at, item)
end

local function book(tenant, at, template, account, values)
  local place = ' ' .. account .. ' ' .. tenant
  local open = 'rt:history:open:' .. math.floor(at / 60)
  redis.call('SADD', 'rt:history:unrolled', math.floor(at / 60))
  count_in(open, 'enqueued - ' .. tenant)
  if template.state == 'open' then return end
  count_in('rt:edits:counts', template.state)
  count_in(open, 'wait:2.5' .. place)
  count_in(open, 'calls' .. place)
  count_in(open, 'answers:succeeded+endpoint:6' .. place)
  local code = template.state == 'failed' and ':' .. template.name or ''
  count_in(open, 'ended:' .. template.state .. code .. '+total:10+charges:useful' .. place)
  local day = math.floor(at / 86400)
  count_in('rt:ledger:' .. tenant, day .. ' useful')
  if account ~= 'default' then count_in('rt:ledger_accounts:' .. tenant, day .. ' ' .. account .. ' useful') end
  count_in('rt:ledger:account:' .. account, day .. ' useful')
  for _, tag in ipairs({ 'campaign=' .. values.campaign, 'order=' .. values.order }) do
    local tags = 'rt:ledger_tags:' .. tenant .. ':' .. day
    if redis.call('HLEN', tags) < 1000 then redis.call('HSET', tags, tag, '1 0 0 0') end
  end
end

local function copy(number)
  local at = string.format('%.3f', since + span * number / total)
  local template, is_rare = kind_of(number)
  local tenant = 'tenant' .. number % tenants
  local id = string.format('ed_%011x%04x%09x', at * 1000, number % 65536, number)
  local values = { tenant = tenant, order = is_rare and 'rare' or tostring(math.floor(number / 40)),
    campaign = tostring(number % 7) }
  if is_rare then values.receiver = 'rc_rare'
  elseif number % 5 == 0 then values.receiver = string.format('rc_%020d', number % crowd) end
  local account = is_rare and 'rare' or number % 4 == 1 and 'dear' or 'default'
  redis.call('SET', 'rt:edits:spec:' .. id, filled(template.spec, values), 'EX', life)
  if #template.fields > 0 then
    local own = 'rt:edits:state:' .. id
    redis.call('HSET', own, 'account', account, unpack(hash_of(template.fields, values,
      { created_at = at, started_at = at + 2, finished_at = at + 9 })))
    redis.call('EXPIRE', own, life)
  end
  if #template.timeline > 0 then
    redis.call('RPUSH', 'rt:timeline:' .. id, unpack(filled_all(template.timeline, values)))
    redis.call('EXPIRE', 'rt:timeline:' .. id, life)
    redis.call('XADD', 'rt:feed', '*', 'job', id, 'sequence', #template.timeline, 'type', 'edit.' .. template.state,
      'tenant', tenant)
  end
  index(id, tenant, at, template, values, account)
  if values.receiver and template.delivery ~= cjson.null then deliver(id, tenant, at, template, values) end
  book(tenant, at, template, account, values)
  redis.call('SADD', 'rt:tenants', tenant)
  redis.call('ZADD', 'rt:tenants_by_time', at, tenant)
end

for number = first, first + count - 1 do copy(number) end
for _, list in pairs(lists) do redis.call(unpack(list)) end
for key, fields in pairs(counts) do
  for field, by in pairs(fields) do redis.call('HINCRBY', key, field, by) end
end
"""
