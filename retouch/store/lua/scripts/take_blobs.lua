-- Take some blobs whose time is over; the caller deletes them. Their entries stay and are due again in an hour: if the
-- caller dies, another caller takes the blobs then.
-- Keys: rt:blobs.
-- ARGV: most, again_s.
-- Returns names and marks, in turn: the mark is the entry's new score.
local most, again_s = unpack(ARGV)

local clock = require('clock')

local now = clock.now()
local mark = clock.instant(now + tonumber(again_s))
local taken = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', 'rt:blobs', '-inf', clock.instant(now), 'LIMIT', 0, most)) do
  redis.call('ZADD', 'rt:blobs', mark, name)
  taken[#taken + 1] = name
  taken[#taken + 1] = mark
end
return taken
