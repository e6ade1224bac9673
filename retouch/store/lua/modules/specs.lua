-- The specs of jobs and deliveries: what was requested. They never change.
-- Keys: rt:L:spec:{item}.

local keys = require('keys')

local specs = {}

-- Return the spec, or nil if the item is no longer on record.
function specs.of(lane, item)
  local text = redis.call('GET', keys.spec(lane, item))
  return text and cjson.decode(text) or nil
end

function specs.tags_of(job) return (specs.of('edits', job) or {}).tags end

function specs.is_on_record(lane, item) return redis.call('EXISTS', keys.spec(lane, item)) == 1 end

return specs
