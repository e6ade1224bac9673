-- Drop index entries whose records are gone, and take images off the record whose time is over. Records end by their
-- own TTL; an index and an image cannot.
-- ARGV: retention_s.  Returns {entries that went, names of images to delete}. Looks at the oldest of each index.
local now = now_s()
local gone = 0
local function trim(index, lane, older_s)
  for _, item in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', instant(now - older_s), 'LIMIT', 0, 500)) do
    if redis.call('EXISTS', key(lane, 'spec:' .. item)) == 0 then gone = gone + redis.call('ZREM', index, item) end
  end
end
for _, tenant in ipairs(redis.call('SMEMBERS', 'rt:tenants')) do trim('rt:jobs:' .. tenant, 'edits', tonumber(ARGV[1])) end
trim('rt:edits:dead', 'edits', tonumber(ARGV[1]))
trim('rt:deliveries:recent', 'deliveries', 30 * 86400)
trim('rt:deliveries:dead', 'deliveries', 30 * 86400)
local due = redis.call('ZRANGEBYSCORE', 'rt:blobs', '-inf', instant(now), 'LIMIT', 0, 200)
for _, name in ipairs(due) do redis.call('ZREM', 'rt:blobs', name) end
return { gone, due }
