-- Put a failed or cancelled job back into the backlog; see replays.lua.
-- Keys: those of replays.lua.
-- ARGV: job, deadline_s ('' for the time that the job had at first), retention_s.
-- Returns {'replayed' | 'open' | 'succeeded' | 'unknown' | 'full backlog' | 'full budget', messages}; full: the tenant
--         has no room for it, and nothing happened.
local job, asked_deadline_s, retention_s = unpack(ARGV)

local replays = require('replays')
local slots = require('slots')

return { replays.run(job, asked_deadline_s, tonumber(retention_s)), slots.messages }
