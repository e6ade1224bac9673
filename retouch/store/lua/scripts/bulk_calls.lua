-- Count the calls that replays of jobs may make. Changes nothing.
-- Keys: rt:edits:spec:{job}, rt:edits:state:{job}.
-- ARGV: states of jobs to count, each with spaces around it ('' for any state), the max_charges of jobs that have none
--       of their own, and the jobs.
-- Returns for each job the number of calls: 0 if its answer is paid for, -1 if it is not on record or in another state.
local states, usual_most = unpack(ARGV, 1, 2)
local jobs = { unpack(ARGV, 3) }

local keys = require('keys')
local specs = require('specs')

local function max_charges_of(text)
  -- Parsing takes much longer than this search, and few jobs have a bound of their own.
  if not string.find(text, '"max_charges"', 1, true) then return tonumber(usual_most) end
  return (cjson.decode(text).policy or {}).max_charges or tonumber(usual_most)
end

local function calls_of(job)
  local state, checkpoint = unpack(redis.call('HMGET', keys.state('edits', job), 'state', 'checkpoint'))
  local is_meant = states == '' or string.find(states, ' ' .. (state or 'queued') .. ' ', 1, true)
  if not (is_meant and specs.is_on_record('edits', job)) then return -1 end
  if checkpoint and checkpoint ~= '' then return 0 end
  return max_charges_of(redis.call('GET', keys.spec('edits', job)))
end

local calls = {}
for place, job in ipairs(jobs) do calls[place] = calls_of(job) end
return calls
