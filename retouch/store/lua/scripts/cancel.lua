-- Cancel a job. One that nobody works on ends at once; one in flight ends when its call does, so that a paid image is
-- kept on record.  ARGV: job, retention_s.
-- Returns {'cancelled' | 'requested' | 'final' | 'unknown', messages}.
local job = ARGV[1]
local spec = redis.call('GET', key('edits', 'spec:' .. job))
if not spec then return { 'unknown', messages } end
local tenant = cjson.decode(spec).tenant
local own = state_key('edits', job)
local state = redis.call('HGET', own, 'state') or 'queued'
if FINAL[state] then return { 'final', messages } end
if state == 'running' or state == 'polling' then
  redis.call('HSET', own, 'cancel', '1')
  return { 'requested', messages }
end
local now = now_s()
withdraw('edits', tenant, job)
redis.call('HSETNX', own, 'created_at', redis.call('ZSCORE', 'rt:jobs:' .. tenant, job) or instant(now))
finish(job, tenant, 'cancelled', now, tonumber(ARGV[2]), '', '')
dispatch('edits', now)
return { 'cancelled', messages }
