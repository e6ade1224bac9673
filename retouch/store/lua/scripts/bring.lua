-- Write which images of a paid answer of several were brought home: the next attempt goes on behind them.
-- ARGV: job, fence, checkpoint (JSON), name of the image that is kept now ('' for one that is not), keep_until (Unix
--       seconds).  Returns 'ok', or 'stale' when the lease was lost.
local job, fence, checkpoint, name, keep_until = unpack(ARGV)
if not holds('edits', job, fence) then return 'stale' end
local own = state_key('edits', job)
redis.call('HSET', own, 'checkpoint', checkpoint)
if name ~= '' then keep_images(redis.call('HGET', own, 'group'), { name }, tonumber(keep_until)) end
return 'ok'
