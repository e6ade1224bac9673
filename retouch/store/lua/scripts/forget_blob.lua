-- Take a deleted blob off the record, unless somebody wants it again since it was taken: its score is another one then.
-- Keys: rt:blobs.  ARGV: name, mark.  Returns 1 when it went.
local score = redis.call('ZSCORE', 'rt:blobs', ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
return redis.call('ZREM', 'rt:blobs', ARGV[1])
