-- Put a delivery that is over, or waits for its next attempt, back to be sent now, by hand: the same id, a fresh
-- schedule, allowed on a disabled receiver.
-- ARGV: item.  Returns {'redelivered' | 'open' | 'unknown', messages}.
local item = ARGV[1]
local own = state_key('deliveries', item)
local known = redis.call('HMGET', own, 'state', 'group')
if not known[1] or redis.call('EXISTS', key('deliveries', 'spec:' .. item)) == 0 then return { 'unknown', messages } end
if known[1] == 'queued' or known[1] == 'running' then return { 'open', messages } end
local now = now_s()
withdraw('deliveries', known[2], item)
redis.call('ZREM', 'rt:deliveries:dead', item)
redis.call('PERSIST', own)
redis.call('PERSIST', key('deliveries', 'spec:' .. item))
redis.call('HSET', own, 'state', 'queued', 'by_hand', '1', 'attempt', 0)
redis.call('HDEL', own, 'finished_at', 'due_at')
put('deliveries', known[2], item, instant(now))
dispatch('deliveries', now)
return { 'redelivered', messages }
