-- Take the lease of an item that holds a slot and was called for. A duplicate message finds nothing to claim.
-- ARGV: lane, item, lease_s.  Returns false, or {spec, now, state fields...}.
local lane, item, lease_s = ARGV[1], ARGV[2], tonumber(ARGV[3])
local own = state_key(lane, item)
local known = redis.call('HMGET', own, 'message_requested', 'state', 'group', 'started_at', 'fence', 'unannounced')
if known[1] ~= '1' or not redis.call('ZSCORE', key(lane, 'slots'), item) then return false end
local spec = redis.call('GET', key(lane, 'spec:' .. item))
if not spec then  -- erased while it waited: nothing is left to do
  release(lane, known[3], item)
  redis.call('DEL', own)
  return false
end
local now = now_s()
-- At least the clock's milliseconds: a number that Redis forgot with its last second must not be given twice.
local fence = math.max(tonumber(known[5] or 0) + 1, math.floor(now * 1000))
redis.call('HSET', own, 'message_requested', '0', 'state', 'running', 'fence', string.format('%.0f', fence))
hold_until(lane, item, now + lease_s)
if lane == 'edits' then
  if not known[4] then
    redis.call('HSET', own, 'started_at', instant(now),
      'created_at', redis.call('ZSCORE', 'rt:jobs:' .. known[3], item) or instant(now))
  end
  if known[6] then redis.call('HDEL', own, 'unannounced')
  elseif known[2] == 'queued' then event(item, known[3], 'edit.running', now, '') end
end
return { spec, instant(now), unpack(redis.call('HGETALL', own)) }
