-- Record what follows an attempt, give up the lease, and dispatch the next job.
-- ARGV: job, fence, move ('polling', 'retrying', 'succeeded', 'failed', 'cancelled'), delay_s, refund ('1': the attempt
--       costs none), checkpoint (JSON; '-' forgets it; '' keeps it), error (JSON or ''), result (JSON or ''), retention_s.
-- Returns {'ok' or 'stale', messages}. 'stale': the lease was lost; whoever has it now decides.
local ENDS_WITH_A_CHECKPOINT = { deadline_passed = true, worker_lost = true, result_not_stored = true }
local job, fence, move, delay_s, refund, checkpoint, error, result = unpack(ARGV, 1, 8)
if not holds('edits', job, fence) then return { 'stale', messages } end
local now = now_s()
local own = state_key('edits', job)
local known = redis.call('HMGET', own, 'group', 'cancel')
local tenant = known[1]
if refund == '1' then redis.call('HINCRBY', own, 'attempt', -1) end
if checkpoint == '-' then redis.call('HDEL', own, 'checkpoint')
elseif checkpoint ~= '' then redis.call('HSET', own, 'checkpoint', checkpoint) end
-- A late answer may have come while this attempt ran: what is paid for is fetched before the job is given up.
local has_late_answer = move == 'failed' and is_paid('edits', job)
  and not ENDS_WITH_A_CHECKPOINT[cjson.decode(error).code]
if known[2] == '1' and move ~= 'polling' then move = 'cancelled' end

if move == 'polling' then
  redis.call('HSET', own, 'state', 'polling')
  redis.call('HINCRBY', own, 'polls', 1)
  hold_until('edits', job, now + tonumber(delay_s))
elseif move == 'retrying' then
  redis.call('HSET', own, 'state', 'retrying', 'error', error, 'due_at', instant(now + tonumber(delay_s)))
  redis.call('HINCRBY', own, 'waits', 1)
  event(job, tenant, 'edit.retrying', now, ',"delay_s":' .. instant(tonumber(delay_s)) .. ',"error":' .. error)
  park('edits', tenant, job, now + tonumber(delay_s))
elseif has_late_answer and move ~= 'cancelled' then
  local score = redis.call('HGET', own, 'score')
  release('edits', tenant, job)
  redis.call('HSET', own, 'state', 'queued', 'called', '0')
  event(job, tenant, 'edit.adopted', now, '')
  put('edits', tenant, job, score)
else
  finish(job, tenant, move, now, tonumber(ARGV[9]), move == 'failed' and error or '', result)
end
dispatch('edits', now)
return { 'ok', messages }
