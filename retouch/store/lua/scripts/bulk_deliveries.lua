-- Return the deliveries of jobs that a bulk run sends again. Changes nothing.
-- Keys: rt:deliveries_of:{job}, rt:deliveries:spec:{item}, rt:deliveries:state:{item}.
-- ARGV: receivers, each with spaces around it ('' for any), '1' for dead letters alone, an instant before which they
--       were made ('' for any), and the jobs.
-- Returns the ids of deliveries, in the order of the jobs.
local receivers, dead, made_before = unpack(ARGV, 1, 3)
local jobs = { unpack(ARGV, 4) }

local keys = require('keys')
local specs = require('specs')

local function is_of_receivers(item)
  if receivers == '' then return specs.is_on_record('deliveries', item) end
  local spec = specs.of('deliveries', item)
  return spec and string.find(receivers, ' ' .. spec.receiver .. ' ', 1, true)
end

local function is_meant(item)
  local state, created_at = unpack(redis.call('HMGET', keys.state('deliveries', item), 'state', 'created_at'))
  if dead == '1' and (state or 'dead') ~= 'dead' then return false end
  if made_before ~= '' and tonumber(created_at or 0) >= tonumber(made_before) then return false end
  return is_of_receivers(item)
end

local found = {}
for _, job in ipairs(jobs) do
  for _, item in ipairs(redis.call('LRANGE', 'rt:deliveries_of:' .. job, 0, -1)) do
    if is_meant(item) then found[#found + 1] = item end
  end
end
return found
