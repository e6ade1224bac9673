-- Renew the leases that one worker process holds, and note how many threads it has for deliveries: the lane has as many
-- slots as all living workers have threads, so that none is given to a delivery that must wait for one.
-- ARGV: lease_s, worker ('' announces nothing), threads, then per lease: lane, item, fence.
-- Returns the items whose lease is lost.
local now = now_s()
local lease_s, worker, threads = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local lost = {}
for at = 4, #ARGV, 3 do
  local lane, item, fence = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if holds(lane, item, fence) then hold_until(lane, item, now + lease_s)
  else lost[#lost + 1] = item end
end
if worker ~= '' then
  local workers, sum = 'rt:deliveries:workers', 0
  redis.call('ZADD', workers, instant(now + lease_s), worker .. ' ' .. threads)
  redis.call('ZREMRANGEBYSCORE', workers, '-inf', instant(now))
  for _, known in ipairs(redis.call('ZRANGE', workers, 0, -1)) do sum = sum + tonumber(string.match(known, '%d+$')) end
  -- With the last worker gone nothing can be served; the next one starts with its own number.
  if sum > 0 then redis.call('HSET', key('deliveries', 'gate'), 'limit', sum) end
end
return lost
