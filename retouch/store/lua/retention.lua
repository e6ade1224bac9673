-- Drop index entries whose records are gone. Records end by their own TTL; an index cannot.
-- ARGV: retention_s.  Returns how many entries went. Looks at the oldest 500 of each index.
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
return gone
