-- What was asked for: the specs of jobs and deliveries, which never change.
-- Keys: rt:L:spec:{item}.

local keys = require('keys')

local specs = {}

-- Return the spec, or nil when the item is not on record any more.
function specs.of(lane, item)
  local text = redis.call('GET', keys.spec(lane, item))
  return text and cjson.decode(text) or nil
end

function specs.tags_of(job) return (specs.of('edits', job) or {}).tags end

function specs.is_on_record(lane, item) return redis.call('EXISTS', keys.spec(lane, item)) == 1 end

return specs
