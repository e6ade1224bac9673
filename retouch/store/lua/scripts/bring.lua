-- Write which images of a paid answer are stored; the next attempt continues with the other images.
-- Keys: rt:edits:state:{job}, and those of images.lua.
-- ARGV: job, fence, checkpoint (JSON), name of the image that was just stored ('' if it was rejected), keep_until (Unix
--       seconds).
-- Returns 'ok', or 'stale' when the lease was lost.
local job, fence, checkpoint, name, keep_until = unpack(ARGV)

local images = require('images')
local keys = require('keys')
local leases = require('leases')

if not leases.is_held('edits', job, fence) then return 'stale' end
local own = keys.state('edits', job)
redis.call('HSET', own, 'checkpoint', checkpoint)
if name ~= '' then images.keep(redis.call('HGET', own, 'group'), { name }, tonumber(keep_until)) end
return 'ok'
