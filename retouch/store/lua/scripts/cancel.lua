-- Cancel a job; see cancellation.lua.
-- Keys: those of cancellation.lua.
-- ARGV: job, retention_s.
-- Returns {'cancelled' | 'requested' | 'final' | 'unknown', messages}.
local job, retention_s = unpack(ARGV)

local cancellation = require('cancellation')
local slots = require('slots')

return { cancellation.run(job, tonumber(retention_s)), slots.messages }
