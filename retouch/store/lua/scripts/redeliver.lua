-- Send a delivery again, by hand; see redelivery.lua.
-- Keys: those of redelivery.lua.
-- ARGV: item.
-- Returns {'redelivered' | 'open' | 'gone': its job is no longer on record | 'unknown', messages}.
local item = unpack(ARGV)

local redelivery = require('redelivery')
local slots = require('slots')

return { redelivery.run(item), slots.messages }
