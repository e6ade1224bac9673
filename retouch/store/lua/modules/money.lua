-- Money: budgets per tenant and day, and the ledger of what charges were good for. Loaded behind lane.lua.
-- Keys: rt:edits:budgets, rt:budget:{tenant}:{day}, rt:ledger:{tenant}, rt:ledger_tags:{tenant}:{day}.
-- A day is a UTC day, counted from 1970. A call is reserved when its job is dispatched, becomes spent with its intent,
-- and is given back by a release without an intent, or by an answer that cost nothing: so concurrency cannot overshoot.

local DAY_S = 86400
local BUDGET_LIFE_S = 3 * DAY_S
local TAG_LIFE_S = 90 * DAY_S
local the_day

local function today()
  the_day = the_day or math.floor(now_s() / DAY_S)
  return the_day
end

local function budget_key(tenant, day) return 'rt:budget:' .. tenant .. ':' .. day end

local function count(tenant, day, name, by)
  redis.call('HINCRBY', budget_key(tenant, day), name, by)
  redis.call('EXPIRE', budget_key(tenant, day), BUDGET_LIFE_S)
end

-- Calls left today, or nil where the tenant has no budget.
function money.left(tenant)
  local budget = tonumber(redis.call('HGET', 'rt:edits:budgets', tenant) or nil)
  if not budget then return nil end
  local used = redis.call('HMGET', budget_key(tenant, today()), 'spent', 'reserved')
  return budget - tonumber(used[1] or 0) - tonumber(used[2] or 0)
end

function money.is_left(tenant)
  local left = money.left(tenant)
  return not left or left > 0
end

-- Whether a tenant's next job may be dispatched: a call is left for it, or it needs none.
function money.allows_dispatch(tenant)
  if money.is_left(tenant) then return true end
  local first = redis.call('ZRANGE', 'rt:edits:backlog:' .. tenant, 0, 0)[1]
  return first and is_paid('edits', first)
end

function money.reserve(job, tenant)
  if redis.call('HEXISTS', 'rt:edits:budgets', tenant) == 0 then return end
  count(tenant, today(), 'reserved', 1)
  redis.call('HSET', state_key('edits', job), 'reserved', today())
end

function money.release_reservation(job, tenant)
  local day = redis.call('HGET', state_key('edits', job), 'reserved')
  if not day then return end
  count(tenant, day, 'reserved', -1)
  redis.call('HDEL', state_key('edits', job), 'reserved')
end

-- Count a call as spent. False, and nothing counted, when none is left and none was reserved for this job today: it
-- calls again after its worker died, or midnight passed since its dispatch.
function money.spend(job, tenant)
  local reserved_on = redis.call('HGET', state_key('edits', job), 'reserved')
  money.release_reservation(job, tenant)
  if tonumber(reserved_on or nil) ~= today() and not money.is_left(tenant) then return false end
  count(tenant, today(), 'spent', 1)
  return true
end

-- A POST turned out to have cost nothing (by = -1), or something after all; `intent_at` says on which day it counts.
function money.correct(tenant, intent_at, by)
  count(tenant, math.floor(intent_at / DAY_S), 'spent', by)
  join('edits', tenant)
end

-- Whether an answer of this class says that the POST cost nothing; no answer says no such thing.
local function is_free(class) return class == 'refused' or class == 'failed' end

local CLASSES = { 'useful', 'repeated', 'wasted', 'unknown' }

-- What a job's charges were good for: one useful charge for an image that is kept, further certain ones are repeated;
-- without an image certain ones are wasted; charges whose answer never came are unknown.
local function split(charges, has_image)
  local certain, unknown = 0, 0
  for _, charge in ipairs(charges) do
    if charge.class == 'succeeded' or charge.class == 'processing' then certain = certain + 1
    elseif not is_free(charge.class) then unknown = unknown + 1 end
  end
  local useful = has_image and math.min(1, certain) or 0
  return { useful = useful, repeated = has_image and certain - useful or 0, wasted = has_image and 0 or certain,
    unknown = unknown }
end

-- Add to one day's row of a tag: four counts in the order of CLASSES. What comes when the day has its most rows is
-- booked under OTHER_TAGS, so that neither this hash nor a reader's work grows with the values that a tenant thinks of.
local TAGS_MOST, OTHER_TAGS = 1000, 'other'
local function book_tag(tag_key, tag, by)
  local row = redis.call('HGET', tag_key, tag)
  if not row and redis.call('HLEN', tag_key) >= TAGS_MOST then
    tag = OTHER_TAGS
    row = redis.call('HGET', tag_key, tag)
  end
  local counts = {}
  for text in string.gmatch(row or '0 0 0 0', '%S+') do counts[#counts + 1] = tonumber(text) + by[#counts + 1] end
  redis.call('HSET', tag_key, tag, table.concat(counts, ' '))
end

-- Book the charges of a job that is over. May be called again when more becomes known: only the difference is booked.
function money.book(job, tenant, tags, charges, has_image)
  local own = state_key('edits', job)
  local before = cjson.decode(redis.call('HGET', own, 'booked') or '{}')
  local now_split = split(charges, has_image)
  local by, changed = {}, false
  for place, class in ipairs(CLASSES) do
    by[place] = now_split[class] - (before[class] or 0)
    if by[place] ~= 0 then
      changed = true
      redis.call('HINCRBY', 'rt:ledger:' .. tenant, today() .. ' ' .. class, by[place])
    end
  end
  redis.call('HSET', own, 'booked', cjson.encode(now_split))
  if not changed or not tags or not next(tags) then return end
  local tag_key = 'rt:ledger_tags:' .. tenant .. ':' .. today()
  for name, value in pairs(tags) do book_tag(tag_key, name .. '=' .. value, by) end
  redis.call('EXPIRE', tag_key, TAG_LIFE_S)
end
