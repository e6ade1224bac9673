-- Write the accounts of one worker, from its settings or its accounts file, into their gates. Every worker calls this
-- when it starts and when its file changes. An account that no file names any more stays as long as a living worker
-- serves it. This script deletes no gate; forget_accounts.lua does.
-- Keys: rt:edits:gate, rt:edits:gate:{account}, rt:edits:account_tenants, rt:edits:ready, rt:accounts.
-- ARGV: '1' if the accounts are from a file ('0': the only account is `default`, from the settings), accounts (JSON: a
--       list of objects with id, learn, ceiling, limit, rate, calls_per_day, price, tier, weight, tenants, fallback).
-- Returns the ids that the lane has from now on, separated by spaces; '' if `default` is the only account.
local is_file, accounts_json = unpack(ARGV)

local account_gates = require_late('account_gates')
local clock = require('clock')
local fairness = require('fairness')
local gates = require('gates')
local keys = require('keys')

local now, lane_gate = clock.now(), gates.of('edits')
local choice = account_gates()
local accounts = cjson.decode(accounts_json)
local STRICTNESS = { always = 1, free_only = 2, never = 3 }

-- A limit that was learnt before stays, since learning it again costs refused calls.
local function write_gate(gate, account)
  if account.learn == 0 then
    redis.call('HSET', gate, 'limit', account.limit)
  elseif redis.call('HGET', gate, 'learn') ~= '1' then
    redis.call('HSET', gate, 'limit', account.limit, 'learnt', account.limit)
  end
  redis.call('HSET', gate, 'learn', account.learn, 'rate', account.rate, 'ceiling', account.ceiling)
end

local function write_account(gate, account)
  local tenants = table.concat(account.tenants, ' ')
  redis.call('HSET', gate, 'calls_per_day', account.calls_per_day, 'tier', account.tier, 'weight', account.weight,
    'price', account.price, 'fallback', account.fallback, 'tenants', tenants)
  if tenants == '' then redis.call('HDEL', gate, 'tenants') end
  redis.call('HDEL', gate, 'removed')
  redis.call('SADD', 'rt:accounts', account.id)
end

-- The ids of the lane: the accounts of this file, and others that a living worker serves.
local function ids_with(own)
  local ids, is_known = {}, {}
  for _, account in ipairs(own) do
    ids[#ids + 1] = account.id
    is_known[account.id] = true
  end
  for _, id in ipairs(choice.ids_of(redis.call('HGET', lane_gate, 'accounts') or '')) do
    if not is_known[id] and choice.of(id, now).is_served then
      ids[#ids + 1] = id
      redis.call('HSET', gates.of('edits', id), 'removed', '1')
    end
  end
  return ids
end

-- The tenants that own accounts, as "fallback id id"; if their accounts differ in the fallback, the strictest counts.
local function owners_of(ids)
  local fallbacks, own = {}, {}
  for _, id in ipairs(ids) do
    local tenants, fallback = unpack(redis.call('HMGET', gates.of('edits', id), 'tenants', 'fallback'))
    for tenant in string.gmatch(tenants or '', '%S+') do
      local before = fallbacks[tenant] or 'always'
      fallbacks[tenant] = STRICTNESS[fallback] > STRICTNESS[before] and fallback or before
      own[tenant] = (own[tenant] and own[tenant] .. ' ' or '') .. id
    end
  end
  return fallbacks, own
end

-- A tenant that becomes an owner, or no longer is one, changes its pass: above all others, or in turn.
local function place_in_line(tenant)
  if redis.call('ZREM', keys.lane('edits', 'ready'), tenant) == 1 then fairness.join('edits', tenant) end
  if tonumber(redis.call('ZSCORE', keys.lane('edits', 'resting'), tenant) or 0) >= fairness.LAST then
    redis.call('ZREM', keys.lane('edits', 'resting'), tenant)
  end
end

local function write_owners(ids)
  local before = redis.call('HKEYS', fairness.OWN_ACCOUNTS)
  local fallbacks, own = owners_of(ids)
  redis.call('DEL', fairness.OWN_ACCOUNTS)
  for tenant, fallback in pairs(fallbacks) do
    redis.call('HSET', fairness.OWN_ACCOUNTS, tenant, fallback .. ' ' .. own[tenant])
  end
  for _, tenant in ipairs(before) do place_in_line(tenant) end
  for tenant in pairs(fallbacks) do place_in_line(tenant) end
end

local ids = ids_with(accounts)
for _, account in ipairs(accounts) do
  local gate = gates.of('edits', account.id)
  write_gate(gate, account)
  if is_file == '1' or #ids > 1 then write_account(gate, account) end
end
if is_file == '1' or #ids > 1 then
  redis.call('HSET', lane_gate, 'accounts', table.concat(ids, ' '))
  write_owners(ids)
  return table.concat(ids, ' ')
end
-- There is only one account again: what had closed or paused it among several does not count any more.
if redis.call('HDEL', lane_gate, 'accounts') == 1 then
  write_owners({})
  redis.call('HDEL', lane_gate, 'price', 'removed')  -- from here on the price is that of the settings
  if redis.call('HDEL', lane_gate, 'closed', 'closed_at', 'mode') > 0 then
    redis.call('HDEL', lane_gate, 'down', 'open_until', 'open_s', 'probing')
  end
end
return ''
