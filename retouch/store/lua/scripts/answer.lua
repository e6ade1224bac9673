-- Write the endpoint's answer to a POST, and what to resume from.
-- ARGV: job, fence (of the caller's lease), class, checkpoint (JSON or ''), health (what the answer says of the
--       endpoint: 'full', 'ok', 'alive', 'down' or ''), fence of the lease that POSTed, '1' if the endpoint could not
--       read the picture and is to be given our copy of it.
-- Returns {'ok', or 'late' when the lease was lost meanwhile; messages; seconds if this opened the breaker, or ''}.
-- A late paid answer is adopted if the job has no result: paid once is kept once. Then the next claim resumes from it;
-- a job that had already failed is put back.
local job, fence, class, checkpoint, health = unpack(ARGV, 1, 5)
local now = now_s()
local own = state_key('edits', job)
local charges = charges_of(job)
local tenant = redis.call('HGET', own, 'group') or ''
local REFUSALS_KEPT = 20  -- a job may be refused for a day, every few seconds
for place, charge in ipairs(charges) do
  if charge.fence == tonumber(ARGV[6]) then
    local was_free = is_free(charge.class)
    charge.class, charge.answered_at = class, tonumber(instant(now))
    if is_free(class) ~= was_free then money.correct(tenant, charge.intent_at, was_free and 1 or -1) end
    if class == 'refused' and #charges > REFUSALS_KEPT then
      table.remove(charges, place)
      local forgiven = tonumber(redis.call('HGET', own, 'forgiven') or 0)
      if place <= forgiven then redis.call('HSET', own, 'forgiven', forgiven - 1) end
    end
    break
  end
end
if #charges > 0 then save_charges(job, charges) end

-- The in-flight limit, where it is learnt: halved by a queue-full answer, creeping up by one per limit's worth of
-- answers; `ceiling` is the configured bound, lowered for ten minutes to just below what was refused.
local function adjust_learned_limit()
  local gate = redis.call('HMGET', 'rt:edits:gate', 'learn', 'limit', 'ceiling', 'refused_at', 'learnt')
  if gate[1] ~= '1' then return end
  local ceiling, learnt = tonumber(gate[3]), tonumber(gate[5] or gate[2])
  local calm = now - tonumber(gate[4] or 0)
  if health == 'full' and calm > 5 then
    learnt = math.max(1, math.floor(learnt / 2))
    redis.call('HSET', 'rt:edits:gate', 'refused_at', instant(now), 'refused_limit', tonumber(gate[2]))
  elseif health == 'ok' then
    local refused = tonumber(redis.call('HGET', 'rt:edits:gate', 'refused_limit') or ceiling + 1)
    learnt = math.min(calm < 600 and math.max(1, refused - 1) or ceiling, ceiling, learnt + 1 / learnt)
  end
  redis.call('HSET', 'rt:edits:gate', 'learnt', learnt, 'limit', math.floor(learnt))
end

-- The breaker, shared by all workers: five signs in a row that the endpoint is down open it for 10 s, doubled by each
-- probe that fails; any sign of life closes it. While it is open jobs wait and burn no attempt. A probe whose POST may
-- have been billed doubles up to 5 min; one that cost nothing, up to 20 s.
local DOWN_MOST, OPEN_LEAST_S, OPEN_MOST_S, OPEN_MOST_FREE_S = 5, 10, 300, 20
local opened = ''
local function update_breaker()
  local gate = redis.call('HMGET', 'rt:edits:gate', 'down', 'open_until', 'open_s', 'probing')
  if health ~= 'down' then
    if gate[1] then redis.call('HDEL', 'rt:edits:gate', 'down', 'open_until', 'open_s', 'probing') end
    return
  end
  if gate[2] and gate[4] ~= job then return end  -- calls that were under way when it opened say nothing new
  local down = redis.call('HINCRBY', 'rt:edits:gate', 'down', 1)
  if not gate[2] and down < DOWN_MOST then return end
  opened = math.min(is_free(class) and OPEN_MOST_FREE_S or OPEN_MOST_S, gate[3] and tonumber(gate[3]) * 2 or OPEN_LEAST_S)
  redis.call('HSET', 'rt:edits:gate', 'open_until', instant(now + opened), 'open_s', opened)
  redis.call('HDEL', 'rt:edits:gate', 'probing')
end
local FULL_S = 1  -- a full queue refuses the next job as well: a moment's rest for the whole lane
if health ~= '' then
  if health == 'full' then redis.call('HSET', 'rt:edits:gate', 'full_until', instant(now + FULL_S)) end
  adjust_learned_limit()
  update_breaker()
end

-- Looks and waits are counted for each paid answer: those before it must not shorten the tries to bring it home.
-- The answer to another POST that stands there is put aside as a spare: settle.lua takes it up when this one fails.
local function keep_checkpoint()
  local known = redis.call('HMGET', own, 'checkpoint', 'checkpoint_of')
  if known[1] and known[1] ~= '' and known[2] ~= ARGV[6] then redis.call('HSET', own, 'spare', known[1]) end
  redis.call('HSET', own, 'checkpoint', checkpoint, 'checkpoint_of', ARGV[6])
  redis.call('HDEL', own, 'polls', 'waits', 'crashes')
end

if holds('edits', job, fence) then
  if checkpoint ~= '' then keep_checkpoint() end
  if ARGV[7] == '1' then redis.call('HSET', own, 'reads_copy', '1') end
  return { 'ok', messages, opened }
end
local known = redis.call('HMGET', own, 'state', 'checkpoint', 'result', 'score', 'checkpoint_of')
local state = known[1]
if state and FINAL[state] then
  local spec = cjson.decode(redis.call('GET', key('edits', 'spec:' .. job)) or '{}')
  money.book(job, tenant, spec.tags, charges, known[3] and true or false)
end
if checkpoint == '' or not state or known[3] then return { 'late', messages, opened } end
if known[2] and known[2] ~= '' then
  if known[5] ~= ARGV[6] then redis.call('HSET', own, 'spare', checkpoint) end
  return { 'late', messages, opened }
end
keep_checkpoint()
local waits = redis.call('ZSCORE', key('edits', 'backlog:' .. tenant), job)
if waits then
  put('edits', tenant, job, waits)
  dispatch('edits', now)
elseif state == 'retrying' or state == 'failed' then
  withdraw('edits', tenant, job)
  if state == 'failed' then
    reopen(job)
    redis.call('HDEL', own, 'error', 'finished_at')
  end
  redis.call('HSET', own, 'state', 'queued')
  event(job, tenant, 'edit.adopted', now, '')
  put('edits', tenant, job, known[4] or instant(now))
  dispatch('edits', now)
end
return { 'late', messages, opened }
