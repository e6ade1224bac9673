-- Delete the entry of a deleted blob, unless its score has changed since the blob was taken: somebody needs the blob
-- again then.
-- Keys: rt:blobs.
-- ARGV: name, mark.
-- Returns 1 if the entry was deleted, else 0.
local name, mark = unpack(ARGV)

local score = redis.call('ZSCORE', 'rt:blobs', name)
if not score or tonumber(score) ~= tonumber(mark) then return 0 end
return redis.call('ZREM', 'rt:blobs', name)
