-- Record what follows an attempt, give up the lease, and dispatch the next job.
-- ARGV: job, fence, move ('polling', 'retrying', 'succeeded', 'failed', 'cancelled'), delay_s, refund ('1': the attempt
--       costs none), counts ('1': the wait is counted), checkpoint (JSON; '-' forgets it; '' keeps it), error (JSON or
--       ''), result (JSON or ''), retention_s.
-- Returns {'ok' or 'stale', messages}. 'stale': the lease was lost; whoever has it now decides.
local ENDS_WITH_A_CHECKPOINT = { deadline_passed = true, worker_lost = true, result_not_stored = true }
local job, fence, move, delay_s, refund, counts, checkpoint, error, result = unpack(ARGV, 1, 9)
if not holds('edits', job, fence) then return { 'stale', messages } end
local now = now_s()
local own = state_key('edits', job)
local known = redis.call('HMGET', own, 'group', 'cancel')
local tenant = known[1]
if refund == '1' then redis.call('HINCRBY', own, 'attempt', -1) end
redis.call('HDEL', own, 'crashes')  -- those in a row are counted
-- The late answer to another POST is taken up where this one's is given up.
local spare = (checkpoint == '-' or move == 'failed') and redis.call('HGET', own, 'spare')
if spare then
  redis.call('HSET', own, 'checkpoint', spare)
  redis.call('HDEL', own, 'spare', 'checkpoint_of', 'polls', 'waits')
elseif checkpoint == '-' then redis.call('HDEL', own, 'checkpoint', 'checkpoint_of')
elseif checkpoint ~= '' then redis.call('HSET', own, 'checkpoint', checkpoint) end
-- A late answer may have come while this attempt ran: what is paid for is fetched before the job is given up.
local has_late_answer = move == 'failed'
  and (spare or (is_paid('edits', job) and not ENDS_WITH_A_CHECKPOINT[cjson.decode(error).code]))
if known[2] == '1' and move ~= 'polling' then move = 'cancelled' end

local function is_same_error(code)
  local last = redis.call('HGET', own, 'error')
  return last and cjson.decode(last).code == code
end

if move == 'polling' then
  redis.call('HSET', own, 'state', 'polling')
  redis.call('HINCRBY', own, 'polls', 1)
  hold_until('edits', job, now + tonumber(delay_s))
elseif move == 'retrying' then
  -- A job may wait for a day at a full queue or a closed gate: what costs nothing and is not new is not told again.
  local is_news = counts == '1' or not is_same_error(cjson.decode(error).code)
  redis.call('HSET', own, 'state', 'retrying', 'error', error, 'due_at', instant(now + tonumber(delay_s)))
  if counts == '1' then redis.call('HINCRBY', own, 'waits', 1) end
  if is_news then
    event(job, tenant, 'edit.retrying', now, ',"delay_s":' .. instant(tonumber(delay_s)) .. ',"error":' .. error)
  else
    redis.call('HSET', own, 'unannounced', '1')  -- nor that it runs again
  end
  park('edits', tenant, job, now + tonumber(delay_s))
elseif has_late_answer and move ~= 'cancelled' then
  local score = redis.call('HGET', own, 'score')
  release('edits', tenant, job)
  redis.call('HSET', own, 'state', 'queued', 'message_requested', '0')
  event(job, tenant, 'edit.adopted', now, '')
  put('edits', tenant, job, score)
else
  finish(job, tenant, move, now, tonumber(ARGV[10]), move == 'failed' and error or '', result)
end
dispatch('edits', now)
return { 'ok', messages }
