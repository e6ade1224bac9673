-- Write the intent to POST, just before it: from here on the job may have been charged. Safe to repeat after a lost
-- reply.
-- Keys: rt:edits:state:{job}, rt:edits:gate, and those of budgets.lua, history.lua.
-- ARGV: job, fence.
-- Returns 'ok', 'stale' (the lease is lost), 'cancelled', 'endpoint_down' (the breaker opened since the dispatch),
--         'budget_spent' (no call is left in the tenant's budget), or the checkpoint (JSON) of a late answer that has
--         arrived meanwhile.
local job, fence = unpack(ARGV)

local breaker = require('breaker')
local budgets = require('budgets')
local charge_record = require('charge_record')
local clock = require('clock')
local gates = require('gates')
local history = require('history')
local keys = require('keys')
local leases = require('leases')

if not leases.is_held('edits', job, fence) then return 'stale' end
local own = keys.state('edits', job)
local known = redis.call('HMGET', own, 'cancel', 'checkpoint', 'group', 'account')
local cancel, checkpoint, tenant, account = unpack(known)
if cancel == '1' then return 'cancelled' end
if checkpoint and checkpoint ~= '' then return checkpoint end
local charges = charge_record.of(job)
local last = charges[#charges]
if last and last.fence == tonumber(fence) then return 'ok' end
if not breaker.may_post(gates.of('edits'), job) then return 'endpoint_down' end
if not budgets.spend(job, tenant) then return 'budget_spent' end
local now = clock.now()
charge_record.add_intent(job, charges, fence, now)
history.count_of(account, 'calls', tenant, 1, now)
redis.call('HINCRBY', own, 'attempt', 1)
return 'ok'
