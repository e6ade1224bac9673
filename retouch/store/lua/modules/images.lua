-- Images of jobs, and until when they are kept. Keys: rt:blobs, rt:blobs:{tenant}, rt:edits:state:{job}.

local clock = require('clock')
local keys = require('keys')

local images = {}

-- Return the names of a result's images: the first, and the others of the same answer.
function images.of_result(result)
  local image = cjson.decode(result)
  local names = { image.name }
  for _, other in ipairs(image.others or {}) do names[#names + 1] = other.name end
  return names
end

-- Return the names of images that were stored before a job ended without all of them; a replay continues from these.
function images.brought(job)
  local checkpoint, names = redis.call('HGET', keys.state('edits', job), 'checkpoint'), {}
  if not checkpoint or checkpoint == '' then return names end
  for _, one in ipairs(cjson.decode(checkpoint).brought or {}) do
    if type(one[2]) == 'table' then names[#names + 1] = one[2].name end
  end
  return names
end

-- Keep a job's images until that instant, owned by its tenant.
function images.keep(tenant, names, until_at)
  if #names == 0 then return end
  local entries, at = {}, clock.instant(until_at)
  for _, name in ipairs(names) do
    entries[#entries + 1] = at
    entries[#entries + 1] = name
  end
  redis.call('ZADD', 'rt:blobs', 'GT', unpack(entries))
  redis.call('ZADD', 'rt:blobs:' .. tenant, 'GT', unpack(entries))
end

return images
