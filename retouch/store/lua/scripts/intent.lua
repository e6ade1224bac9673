-- Write the intent, just before the POST: from here on the job may have been charged. Safe to repeat after a lost
-- reply.
-- Keys: rt:edits:state:{job}, the gate of the job's account, and those of budgets.lua, account_books.lua, history.lua.
-- ARGV: job, fence.
-- Returns 'ok', 'stale' (the lease is lost), 'cancelled', why the account may not be called ('endpoint_down': the
--         breaker opened since the dispatch; 'account_closed', 'account_paused', 'account_spent'), 'budget_spent' (no
--         call is left in the tenant's budget), or the checkpoint (JSON) of a late answer that has arrived meanwhile.
local job, fence = unpack(ARGV)

local account_books = require_late('account_books')
local breaker = require('breaker')
local budgets = require('budgets')
local charge_record = require('charge_record')
local clock = require('clock')
local gates = require('gates')
local history = require('history')
local keys = require('keys')
local leases = require('leases')

local own = keys.state('edits', job)
local known = redis.call('HMGET', own, 'fence', 'state', 'cancel', 'checkpoint', 'group', 'account', 'charges')
local cancel, checkpoint, tenant, account = unpack(known, 3)
if not leases.is_current(known, fence) then return 'stale' end
if cancel == '1' then return 'cancelled' end
if checkpoint and checkpoint ~= '' then return checkpoint end
local charges = charge_record.read(known[7])
if charge_record.is_intended(charges, fence) then return 'ok' end
local gate = gates.of('edits', account)
local why_not = breaker.why_not(gate, job) or account and account_books().why_not(account, gate)
if why_not then return why_not end
if not budgets.spend(job, tenant) then return 'budget_spent' end
local now = clock.now()
local price = account and account_books().begin_call(account, gate, now)
charge_record.add_intent(job, charges, fence, account, price, now)
history.count('calls', account, tenant, 1, now)
redis.call('HINCRBY', own, 'attempt', 1)
return 'ok'
