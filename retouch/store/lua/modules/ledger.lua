-- The ledger of charges by class, for each tenant, day and tag, and for each account if there are several.
-- Keys: rt:ledger:{tenant}, rt:ledger_tags:{tenant}:{day}, rt:edits:state:{job}.

local account_books = require_late('account_books')
local charge_record = require('charge_record')
local clock = require('clock')
local history = require('history')
local keys = require('keys')

local ledger = {}

local CLASSES = { 'useful', 'repeated', 'wasted', 'unknown' }
local PLACES = { useful = 1, repeated = 2, wasted = 3, unknown = 4 }
local TAG_LIFE_S = 90 * clock.DAY_S
local TAGS_MOST, OTHER_TAGS = 1000, 'other'

-- With a stored image, one certain charge is useful and the other certain ones are repeated. Without an image, certain
-- charges are wasted. Charges whose answer never came are unknown.
local function split(charges, has_image)
  local certain, unknown = 0, 0
  for _, charge in ipairs(charges) do
    if charge.class == 'succeeded' or charge.class == 'processing' then certain = certain + 1
    elseif not charge_record.is_free(charge.class) then unknown = unknown + 1 end
  end
  local useful = has_image and math.min(1, certain) or 0
  return { useful = useful, repeated = has_image and certain - useful or 0, wasted = has_image and 0 or certain,
    unknown = unknown }
end

-- Return the counts in the row of a tag, in the order of CLASSES, and the calls by account that follow them.
local function read_row(row)
  local counts, calls = {}, {}
  for text in string.gmatch(row or '0 0 0 0', '%S+') do
    local account, count = string.match(text, '^(.+):(-?%d+)$')
    if account then calls[account] = tonumber(count) else counts[#counts + 1] = tonumber(text) end
  end
  return counts, calls
end

-- Add four counts, in the order of CLASSES, to the row of a tag and day, and with several accounts the calls of each.
-- Once the day has its maximum of rows, other tags are added to the row OTHER_TAGS, so that the size of this hash does
-- not grow with a tenant's tags.
local function book_tag(tag_key, tag, by, by_account)
  local row = redis.call('HGET', tag_key, tag)
  if not row and redis.call('HLEN', tag_key) >= TAGS_MOST then
    tag = OTHER_TAGS
    row = redis.call('HGET', tag_key, tag)
  end
  local words, calls = read_row(row)
  for place, count in ipairs(by) do words[place] = words[place] + count end
  for account, count in pairs(by_account) do calls[account] = (calls[account] or 0) + count end
  for account, count in pairs(calls) do words[#words + 1] = account .. ':' .. count end
  redis.call('HSET', tag_key, tag, table.concat(words, ' '))
end

-- `changes` is a list of { account, class, by }; with only one account they name none.
local function book_tags(tenant, tags, changes)
  if not tags or not next(tags) then return end
  local by, by_account = { 0, 0, 0, 0 }, {}
  for _, change in ipairs(changes) do
    by[PLACES[change.class]] = by[PLACES[change.class]] + change.by
    local account = change.account
    if account then by_account[account] = (by_account[account] or 0) + change.by end
  end
  local tag_key = 'rt:ledger_tags:' .. tenant .. ':' .. clock.today()
  for name, value in pairs(tags) do book_tag(tag_key, name .. '=' .. value, by, by_account) end
  redis.call('EXPIRE', tag_key, TAG_LIFE_S)
end

-- Count a change in history. What moves to another class later is counted beside it, so that no count ever goes down.
-- `with` names what else happened in this step; it is counted by the same command where one charge is booked.
local function note_use(change, tenant, with, now)
  local account, by = change.account, change.by
  local name = (by > 0 and 'charges:' or 'charges_back:') .. change.class
  if with and by == 1 then return history.count(with .. '+' .. name, account, tenant, 1, now) end
  if with then history.count(with, account, tenant, 1, now) end
  history.count(name, account, tenant, math.abs(by), now)
end

-- `with` belongs to `last_account`, the account of the last charge.
local function note_uses(changes, last_account, tenant, with, now)
  for _, change in ipairs(changes) do
    local is_last = change.account == last_account
    note_use(change, tenant, is_last and with or nil, now)
    if is_last then with = nil end
  end
  if with and changes[1] then history.count(with, last_account, tenant, 1, now) end
end

-- Write the charges of a job that is over into the ledger. May be called again when more becomes known: only the
-- difference is added. `result` is false or nil for a job without an image. `with` is nil, or names of history that are
-- counted too if there is a difference. Return whether there is one.
function ledger.book(job, tenant, tags, charges, result, now, with)
  local own, has_image = keys.state('edits', job), result and true or false
  local before = cjson.decode(redis.call('HGET', own, 'booked') or '{}')
  local now_split = split(charges, has_image)
  local changes = {}
  for _, class in ipairs(CLASSES) do
    local by = now_split[class] - (before[class] or 0)
    if by ~= 0 then
      redis.call('HINCRBY', 'rt:ledger:' .. tenant, clock.today() .. ' ' .. class, by)
      changes[#changes + 1] = { class = class, by = by }
    end
  end
  redis.call('HSET', own, 'booked', cjson.encode(now_split))
  -- The charges of one job may be of several accounts, each with a count in history and a price of its own.
  if charge_record.names_account(charges) then
    changes = account_books().book(job, tenant, charges, has_image, before)
  end
  if changes[1] then book_tags(tenant, tags, changes) end
  note_uses(changes, charges[#charges].account, tenant, with, now)
  return changes[1] ~= nil
end

return ledger
