-- Put a delivery that is over, or waits for its next attempt, back to be sent now, by hand: the same id, a fresh
-- schedule, allowed on a disabled receiver.
-- ARGV: item.  Returns {'redelivered' | 'open' | 'gone': its job is no longer on record | 'unknown', messages}.
local item = ARGV[1]
local own = state_key('deliveries', item)
local known = redis.call('HMGET', own, 'state', 'group', 'target')
local spec = redis.call('GET', key('deliveries', 'spec:' .. item))
if not known[1] or not spec then return { 'unknown', messages } end
if known[1] == 'queued' or known[1] == 'running' then return { 'open', messages } end
local job = cjson.decode(spec).job
if redis.call('EXISTS', key('edits', 'spec:' .. job)) == 0 then return { 'gone', messages } end
local now = now_s()
-- The event is built from the job's record at each attempt, with a link to its image: both outlive the fresh schedule.
for _, name in ipairs(keys_of(job)) do
  local left_s = redis.call('TTL', name)
  if left_s >= 0 and left_s < DELIVERY_SCHEDULE_S then redis.call('EXPIRE', name, DELIVERY_SCHEDULE_S) end
end
local result = redis.call('HGET', state_key('edits', job), 'result')
if result then keep_images(cjson.decode(spec).tenant, images_of(result), now + DELIVERY_SCHEDULE_S) end
withdraw('deliveries', known[2], item)
redis.call('ZREM', 'rt:deliveries:dead', item)
redis.call('PERSIST', own)
redis.call('PERSIST', key('deliveries', 'spec:' .. item))
redis.call('HSET', own, 'state', 'queued', 'by_hand', '1', 'attempt', 0)
redis.call('HDEL', own, 'finished_at', 'due_at')
put('deliveries', known[3] or known[2], item, instant(now))
dispatch('deliveries', now)
return { 'redelivered', messages }
