-- Take the lease of an item that holds a slot and whose message was sent. A duplicate message finds nothing to claim,
-- and so does a worker without the key of the job's account: rescue sends the message again.
-- Keys: rt:L:spec:{item}, rt:L:state:{item}, rt:L:slots, and those of events.lua, history.lua.
-- ARGV: lane, item, lease_s, ' id id ' of the accounts that the worker holds ('' asks for none), and for jobs the name
--       of the worker ('' is not noted).
-- Returns false, or {spec, now, messages as lines, fields of the state...}.
local lane, item, lease_s, accounts, worker = unpack(ARGV)

local clock = require('clock')
local job_index = require('job_index')
local keys = require('keys')
local leases = require('leases')
local slots = require('slots')

local own = keys.state(lane, item)
local known = redis.call('HMGET', own, 'message_requested', 'state', 'group', 'started_at', 'fence', 'unannounced',
  'account')
local message_requested, state, group, started_at, last_fence, is_unannounced, account = unpack(known)
local function is_claimable()
  if accounts ~= '' and not string.find(accounts, ' ' .. (account or 'default') .. ' ', 1, true) then return false end
  return message_requested == '1' and redis.call('ZSCORE', keys.lane(lane, 'slots'), item)
end
if not is_claimable() then return false end

local spec = redis.call('GET', keys.spec(lane, item))
if not spec then  -- erased while it waited: nothing is left to do
  slots.release(lane, group, item)
  redis.call('DEL', own)
  return false
end

local now, messages = clock.now(), ''
-- At least the clock's milliseconds: if Redis loses its last second, a number must not be used twice.
local fence = math.max(tonumber(last_fence or 0) + 1, math.floor(now * 1000))
local noted = worker and worker ~= '' and { 'worker', worker } or {}
redis.call('HSET', own, 'message_requested', '0', 'state', 'running', 'fence', string.format('%.0f', fence),
  unpack(noted))
leases.hold_until(lane, item, now + tonumber(lease_s))
if lane == 'edits' then
  if not started_at then
    local history = require('history')
    local created_at = job_index.created_at(item, group, now)
    redis.call('HSET', own, 'started_at', clock.instant(now), 'created_at', created_at)
    history.count('wait:' .. history.bucket(now - created_at), account, group, 1, now)
    job_index.note_run(item, group, spec, created_at, now)
  end
  if is_unannounced then
    redis.call('HDEL', own, 'unannounced')
  elseif state == 'queued' then
    local events = require('events')
    events.record(item, group, 'edit.running', now)
    messages = table.concat(slots.messages, '\n')
  end
end
return { spec, clock.instant(now), messages, unpack(redis.call('HGETALL', own)) }
