-- Events of jobs. The script that moves a job also appends the event, so that there is no move without its event. Keys:
-- rt:timeline:{job}, rt:feed.

local clock = require('clock')
local deliveries = require('deliveries')
local delivery_life = require('delivery_life')
local dispatch = require('dispatch')
local json = require('json')

local events = {}

-- Append an event to the job's timeline, add it to the feed, and enqueue its deliveries. `details` has names and JSON
-- texts of further members, in turn. Return true if any receiver gets the event.
function events.record(job, tenant, type, now, details)
  local members = { 'type', cjson.encode(type), 'at', clock.instant(now), unpack(details or {}) }
  local sequence = redis.call('RPUSH', 'rt:timeline:' .. job, json.object(members))
  redis.call('XADD', 'rt:feed', 'MINID', '~', string.format('%.0f', (now - delivery_life.LOG_S) * 1000), '*',
    'job', job, 'sequence', sequence, 'type', type, 'tenant', tenant)
  local is_wanted = deliveries.add_all({ job = job, sequence = sequence, type = type, tenant = tenant }, now)
  dispatch.run('deliveries', now)
  return is_wanted
end

return events
