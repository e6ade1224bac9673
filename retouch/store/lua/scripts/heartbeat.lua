-- Renew the leases of one worker process, and record what it is and how many threads it has for deliveries. The lane
-- has as many slots as all living workers have threads: a delivery with a slot never waits for a thread. The accounts
-- whose keys the process holds count as served for the time of a lease.
-- Keys: rt:L:state:{item}, rt:L:slots, rt:deliveries:workers, rt:deliveries:gate, rt:edits:gate,
--       rt:edits:gate:{account}, rt:edits:account_workers.
-- ARGV: lease_s, announcement of the worker ('' for none), threads, ids of the accounts that it serves ('' for none),
--       name of the process ('' if it must not be counted among the workers of these accounts), then per lease: lane,
--       item, fence.
-- Returns the items whose lease is lost.
local lease_s, worker, threads, served, process = unpack(ARGV, 1, 5)
local beats = { unpack(ARGV, 6) }

local clock = require('clock')
local gates = require('gates')
local keys = require('keys')
local leases = require('leases')

local WORKERS, ACCOUNT_WORKERS = 'rt:deliveries:workers', 'rt:edits:account_workers'

local function announce(lease_until, now)
  redis.call('ZADD', WORKERS, clock.instant(lease_until), worker .. ' ' .. threads)
  redis.call('ZREMRANGEBYSCORE', WORKERS, '-inf', clock.instant(now))
  local sum = 0
  for _, known in ipairs(redis.call('ZRANGE', WORKERS, 0, -1)) do sum = sum + tonumber(string.match(known, '%d+$')) end
  -- Without a worker nothing can be served; the next worker sets the number of its own threads.
  if sum > 0 then redis.call('HSET', keys.lane('deliveries', 'gate'), 'limit', sum) end
end

-- Count this process among those that serve an account, for people: dispatch reads only `served_until`.
local function count_worker(id, lease_until)
  if process == '' then return end
  redis.call('ZADD', ACCOUNT_WORKERS, clock.instant(lease_until), id .. ' ' .. process)
  redis.call('EXPIRE', ACCOUNT_WORKERS, math.ceil(lease_s))
end

-- With only one account nothing is written about it. An account that is not in the lane's list joins it, since the file
-- or the settings of this worker name it.
local function serve_accounts(lease_until, now)
  local known = redis.call('HGET', gates.of('edits'), 'accounts')
  if not known then return end
  redis.call('ZREMRANGEBYSCORE', ACCOUNT_WORKERS, '-inf', clock.instant(now))
  for id in string.gmatch(served, '%S+') do
    redis.call('HSET', gates.of('edits', id), 'served_until', clock.instant(lease_until))
    count_worker(id, lease_until)
    if not string.find(' ' .. known .. ' ', ' ' .. id .. ' ', 1, true) then
      known = known .. ' ' .. id
      redis.call('HSET', gates.of('edits'), 'accounts', known)
      redis.call('SADD', 'rt:accounts', id)
    end
  end
end

local now = clock.now()
local lease_until = now + tonumber(lease_s)
local lost = {}
for at = 1, #beats, 3 do
  local lane, item, fence = beats[at], beats[at + 1], beats[at + 2]
  if leases.is_held(lane, item, fence) then leases.hold_until(lane, item, lease_until)
  else lost[#lost + 1] = item end
end
if worker ~= '' then announce(lease_until, now) end
if served ~= '' then serve_accounts(lease_until, now) end
return lost
