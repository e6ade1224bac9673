-- Put a failed or cancelled job back into the backlog. It resumes from its checkpoint if that can still yield the
-- image; otherwise it will POST again, and the charges so far no longer count against its max_charges.
-- A job whose image was kept, and that was cancelled all the same, succeeds at once.
-- ARGV: job, deadline_s (or '' for as long as it was given at first), retention_s.
-- Returns {'replayed' | 'open' | 'succeeded' | 'unknown' | 'full backlog' | 'full budget', messages}; full: the tenant
-- has no room for it, and nothing happened.
local BUCKET_S = 5
local job = ARGV[1]
local own = state_key('edits', job)
local text = redis.call('GET', key('edits', 'spec:' .. job))
if not text then return { 'unknown', messages } end
local spec = cjson.decode(text)
local tenant, deadline_s = spec.tenant, tonumber(ARGV[2]) or spec.deadline_s
local state = redis.call('HGET', own, 'state')
if not state or not FINAL[state] then return { 'open', messages } end
if state == 'succeeded' then return { 'succeeded', messages } end
local now = now_s()
local result = redis.call('HGET', own, 'result')
local room, reason = room_left(tenant, not is_paid('edits', job))
if not result and room <= 0 then return { 'full ' .. reason, messages } end
reopen(job)
redis.call('HDEL', own, 'error', 'finished_at', 'cancel', 'cancelled', 'crashes', 'attempt', 'waits', 'polls',
  'reads_copy')
redis.call('HSET', own, 'state', 'queued', 'forgiven', #charges_of(job), 'deadline_at', instant(now + deadline_s))
redis.call('RPUSH', 'rt:edits:deadlines:' .. math.floor((now + deadline_s) / BUCKET_S), job)
event(job, tenant, 'edit.replayed', now, '')
if result then
  finish(job, tenant, 'succeeded', now, tonumber(ARGV[3]), '', result)
  return { 'replayed', messages }
end
put('edits', tenant, job, instant(now))
dispatch('edits', now)
return { 'replayed', messages }
