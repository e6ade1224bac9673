-- Record one delivery attempt and the decision after it, end the lease, and dispatch the next delivery.
-- Keys: rt:deliveries:spec:{item}, rt:deliveries:state:{item}, rt:deliveries:log:{item}, rt:deliveries:counts,
--       rt:deliveries:dead, and those of receiver_health.lua, target_health.lua, timetable.lua, history.lua.
-- ARGV: item, fence, move ('delivered', 'retrying', 'dead'), delay_s, counts ('1': this was an attempt), log (JSON),
--       health ('ok', 'failed', or '' if the attempt shows nothing about the receiver), disable ('1': the receiver
--       wants no more events).
-- Returns {'ok' or 'stale', messages}.
local item, fence, move, delay_s, counts, log, health, disable = unpack(ARGV)

local clock = require('clock')
local delivery_life = require('delivery_life')
local dispatch = require('dispatch')
local history = require('history')
local keys = require('keys')
local leases = require('leases')
local receiver_health = require('receiver_health')
local slots = require('slots')
local specs = require('specs')
local target_health = require('target_health')
local timetable = require('timetable')

if not leases.is_held('deliveries', item, fence) then return { 'stale', slots.messages } end
local now = clock.now()
local own = keys.state('deliveries', item)
local known = redis.call('HMGET', own, 'group', 'target', 'created_at', 'by_hand')
local group, target, created_at, by_hand = unpack(known)
local due_at = move == 'retrying' and now + tonumber(delay_s) or nil

local function write_log()
  local log_key = keys.lane('deliveries', 'log:' .. item)
  redis.call('RPUSH', log_key, log)
  redis.call('EXPIRE', log_key, delivery_life.LOG_S)
  if counts == '1' then redis.call('HINCRBY', own, 'attempt', 1) end
  redis.call('HDEL', own, 'by_hand', 'crashes')
end

-- Count what followed the attempt, and how long after its event it was delivered; one that was sent again by hand has
-- no lag.
local function note_history()
  local names = 'deliveries:' .. move
  if move == 'delivered' and created_at and not by_hand then
    names = names .. '+lag:' .. history.bucket(now - created_at)
  end
  history.count_of_group(names, group, 1, now)
end

local function learn()
  local spec = specs.of('deliveries', item) or {}
  local receiver, tenant = spec.receiver or '', spec.tenant or ''
  if disable == '1' then receiver_health.disable(receiver, tenant, now) end
  if health == '' then return end
  local answer, is_ok = cjson.decode(log), health == 'ok'
  if is_ok then receiver_health.note_success(receiver, tenant, target)
  else receiver_health.note_failure(receiver, tenant, target, answer, due_at, now) end
  -- The answer of one receiver that wants no more says nothing about other receivers of its host.
  if target and disable ~= '1' then target_health.learn(target, group, is_ok, answer.latency_s or 0, now) end
end

local function finish()
  redis.call('HSET', own, 'state', move, 'finished_at', clock.instant(now))
  redis.call('HDEL', own, 'due_at')
  redis.call('HINCRBY', 'rt:deliveries:counts', move, 1)
  if move == 'dead' then redis.call('ZADD', 'rt:deliveries:dead', clock.instant(now), item) end
  slots.release('deliveries', group, item)
  redis.call('EXPIRE', own, delivery_life.LOG_S)
  redis.call('EXPIRE', keys.spec('deliveries', item), delivery_life.LOG_S)
end

write_log()
note_history()
learn()
if due_at then
  redis.call('HSET', own, 'state', 'retrying', 'due_at', clock.instant(due_at))
  timetable.park('deliveries', group, item, due_at)
else
  finish()
end
dispatch.run('deliveries', now)
return { 'ok', slots.messages }
