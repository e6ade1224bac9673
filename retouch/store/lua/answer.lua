-- Write the endpoint's answer to a POST, and what to resume from.
-- ARGV: job, fence (of the caller's lease), class, checkpoint (JSON or ''), learn ('full', 'ok' or ''), fence of the
--       lease that POSTed.
-- Returns 'ok', or 'late' when the lease was lost meanwhile. A late paid answer is adopted if the job has no result:
-- paid once is kept once. Then the next claim resumes from it; a job that had already failed is put back.
local job, fence, class, checkpoint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_s()
local own = state_key('edits', job)
local charges = charges_of(job)
for _, charge in ipairs(charges) do
  if charge.fence == tonumber(ARGV[6]) then charge.class, charge.answered_at = class, tonumber(instant(now)) end
end
if #charges > 0 then save_charges(job, charges) end

-- The in-flight limit, where it is learnt: halved by a queue-full answer, creeping up by one per limit's worth of
-- answers; `ceiling` is the configured bound, lowered for ten minutes to just below what was refused.
local gate = redis.call('HMGET', 'rt:edits:gate', 'learn', 'limit', 'ceiling', 'refused_at', 'learnt')
if gate[1] == '1' and ARGV[5] ~= '' then
  local ceiling, learnt = tonumber(gate[3]), tonumber(gate[5] or gate[2])
  local calm = now - tonumber(gate[4] or 0)
  if ARGV[5] == 'full' and calm > 5 then
    learnt = math.max(1, math.floor(learnt / 2))
    redis.call('HSET', 'rt:edits:gate', 'refused_at', instant(now), 'refused_limit', tonumber(gate[2]))
  elseif ARGV[5] == 'ok' then
    local refused = tonumber(redis.call('HGET', 'rt:edits:gate', 'refused_limit') or ceiling + 1)
    learnt = math.min(calm < 600 and math.max(1, refused - 1) or ceiling, ceiling, learnt + 1 / learnt)
  end
  redis.call('HSET', 'rt:edits:gate', 'learnt', learnt, 'limit', math.floor(learnt))
end

-- Looks and waits are counted for each paid answer: those before it must not shorten the tries to bring it home.
local function keep_checkpoint()
  redis.call('HSET', own, 'checkpoint', checkpoint)
  redis.call('HDEL', own, 'polls', 'waits')
end

if holds('edits', job, fence) then
  if checkpoint ~= '' then keep_checkpoint() end
  return { 'ok', messages }
end
local known = redis.call('HMGET', own, 'state', 'group', 'checkpoint', 'result', 'score')
local state, tenant = known[1], known[2]
if checkpoint == '' or not state or known[4] or (known[3] and known[3] ~= '') then return { 'late', messages } end
keep_checkpoint()
if state == 'retrying' or state == 'failed' then
  withdraw('edits', tenant, job)
  if state == 'failed' then
    redis.call('HDEL', own, 'error', 'finished_at')
    redis.call('ZREM', 'rt:edits:dead', job)
    for _, name in ipairs({ own, key('edits', 'spec:' .. job), 'rt:timeline:' .. job }) do redis.call('PERSIST', name) end
  end
  redis.call('HSET', own, 'state', 'queued')
  event(job, tenant, 'edit.adopted', now, '')
  put('edits', tenant, job, known[5] or instant(now))
  dispatch('edits', now)
end
return { 'late', messages }
