-- Write the intent to POST, just before it: from here on the job may have been charged.
-- ARGV: job, fence.  Returns 'ok', 'stale' (the lease is lost), 'cancelled', 'endpoint_down' (the breaker opened since
-- the dispatch), 'budget_spent' (no call is left in the tenant's budget), or the checkpoint (JSON) of a late answer
-- that has arrived meanwhile. Safe to repeat after a lost reply.
local job, fence = ARGV[1], ARGV[2]
if not holds('edits', job, fence) then return 'stale' end
local own = state_key('edits', job)
local known = redis.call('HMGET', own, 'cancel', 'checkpoint', 'group')
if known[1] == '1' then return 'cancelled' end
if known[2] and known[2] ~= '' then return known[2] end
local charges = charges_of(job)
local last = charges[#charges]
if last and last.fence == tonumber(fence) then return 'ok' end
if not may_post(job) then return 'endpoint_down' end
if not money.spend(job, known[3]) then return 'budget_spent' end
charges[#charges + 1] = { fence = tonumber(fence), intent_at = tonumber(instant(now_s())) }
save_charges(job, charges)
redis.call('HINCRBY', own, 'attempt', 1)
return 'ok'
