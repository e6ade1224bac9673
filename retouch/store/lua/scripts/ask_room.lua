-- Return what leaves a tenant no room for another job: 'backlog', 'budget', or '' when there is room.
-- ARGV: tenant.
local room, reason = room_left(ARGV[1], true)
return room <= 0 and reason or ''
