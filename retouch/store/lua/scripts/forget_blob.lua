-- Take a deleted blob off the record, unless somebody wants it again since it was taken: its score is another one then.
-- Keys: rt:blobs.
-- ARGV: name, mark.
-- Returns 1 when it went, else 0.
local name, mark = unpack(ARGV)

local score = redis.call('ZSCORE', 'rt:blobs', name)
if not score or tonumber(score) ~= tonumber(mark) then return 0 end
return redis.call('ZREM', 'rt:blobs', name)
