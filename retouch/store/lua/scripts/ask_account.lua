-- Return the account to which a tenant's next job would go now, as account_dispatch.lua chooses it. Nothing changes.
-- Keys: rt:edits:gate, and those of account_gates.lua, account_jobs.lua.
-- ARGV: tenant.
-- Returns the account's id; '' if no account has room, or if there is only one account.
local tenant = unpack(ARGV)

local account_gates = require_late('account_gates')
local account_jobs = require_late('account_jobs')
local clock = require('clock')
local gates = require('gates')

local ids = redis.call('HGET', gates.of('edits'), 'accounts')
if not ids then return '' end
local all_gates = account_gates()
local facts = account_jobs()
local accounts, clocks = all_gates.read(ids, clock.now()), {}
local flat = redis.call('HGETALL', all_gates.CLOCKS)
for at = 1, #flat, 2 do clocks[tonumber(flat[at])] = tonumber(flat[at + 1]) end
local owner, never_billed = facts.owner(tenant), { is_billed = false }

local function best(may_take)
  local account = all_gates.best(accounts, clocks, function(one) return one.room > 0 and may_take(one) end)
  return account and account.id
end

return best(function(one) return owner.own[one.id] end)
  or best(function(one) return facts.may_use(owner, never_billed, one) end) or ''
