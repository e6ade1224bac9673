-- Return the reason why a tenant has no room for another job, if it has none.
-- Keys: those of room.lua.
-- ARGV: tenant.
-- Returns 'backlog', 'budget', or '' when there is room.
local tenant = unpack(ARGV)

local room = require('room')

local left, reason = room.left(tenant, true)
return left <= 0 and reason or ''
