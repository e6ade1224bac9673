-- Act on some items of a bulk run's chunk, and count the outcomes.
-- Keys: rt:bulk:{id}, rt:bulk:chunk:{id}, rt:bulk:open, and those of the actions' modules.
-- ARGV: id, fence, most items, lease_s, retention_s.
-- Returns {'running' | 'planning': the chunk is empty | 'done' | 'stale', messages}.
local bulk, fence, most, lease_s, retention_s = unpack(ARGV)

local bulk_runs = require('bulk_runs')
local cancellation = require('cancellation')
local clock = require('clock')
local keys = require('keys')
local priorities = require('priorities')
local redelivery = require('redelivery')
local replays = require('replays')
local slots = require('slots')

if not bulk_runs.is_held(bulk, fence) then return { 'stale', slots.messages } end
local own, chunk = bulk_runs.key(bulk), bulk_runs.chunk(bulk)
local action, priority, created_at, is_last = unpack(
  redis.call('HMGET', own, 'action', 'priority', 'created_at', 'is_last'))

-- The preview did not count a job that ended after the run was created.
local function replay(job)
  local finished_at = tonumber(redis.call('HGET', keys.state('edits', job), 'finished_at') or 0)
  return finished_at >= tonumber(created_at) and 'newer' or replays.run(job, '', tonumber(retention_s))
end

local ACTIONS = {
  cancel = function(job) return cancellation.run(job, tonumber(retention_s)) end,
  replay = replay,
  redeliver = redelivery.run,
  priority = function(job) return priorities.run(job, priority) end,
}

for _ = 1, tonumber(most) do
  local item = redis.call('LPOP', chunk)
  if not item then break end
  redis.call('HINCRBY', own, 'outcome ' .. ACTIONS[action](item), 1)
end
local now = clock.now()
redis.call('ZADD', bulk_runs.OPEN, clock.instant(now + tonumber(lease_s)), bulk)
if redis.call('LLEN', chunk) > 0 then return { 'running', slots.messages } end
if is_last ~= '1' then return { 'planning', slots.messages } end
bulk_runs.finish(bulk, 'done', now)
return { 'done', slots.messages }
