-- History: counts of what happens, written by the scripts that move things, so that they are as exact as the moves. A
-- count has a name such as `enqueued`, `ended:failed:spam_filter` or `wait:0.5` (a latency up to 0.5 s), an account
-- ('-': none) and a tenant. The counts of a minute are rolled up by roll_up.lua when it is over.
-- Keys: rt:history:open:{minute}, rt:history:unrolled.

local history = {}

local MINUTE_S = 60
local DEFAULT_ACCOUNT, NO_ACCOUNT = 'default', '-'

-- Bounds of the buckets, in seconds; history.py has the same. Made when asked for: a script needs one of them at most.
local function bounds_of(name)
  if name == 'endpoint' then return { 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, 120 } end
  return { 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400 }
end

local function add(name, account, tenant, by, now)
  local minute = math.floor(now / MINUTE_S)
  local count = redis.call('HINCRBY', 'rt:history:open:' .. minute, name .. ' ' .. account .. ' ' .. tenant, by)
  -- Only a count that is new in its minute costs a second command.
  if count == by then redis.call('SADD', 'rt:history:unrolled', minute) end
end

-- Count something that belongs to no account of the endpoint.
function history.count(name, tenant, by, now) add(name, NO_ACCOUNT, tenant, by, now) end

-- Count something of an account; nil or false is the account `default`.
function history.count_of(account, name, tenant, by, now) add(name, account or DEFAULT_ACCOUNT, tenant, by, now) end

-- Count a latency (seconds) in its bucket; a clock that was set back makes none below zero.
function history.time(account, name, tenant, seconds, now)
  local bucket = 'inf'
  for _, bound in ipairs(bounds_of(name)) do
    if seconds <= bound then
      bucket = bound
      break
    end
  end
  add(name .. ':' .. bucket, account or DEFAULT_ACCOUNT, tenant, 1, now)
end

-- Count the answer to a POST, before its class is written into the charge: a repeated script counts nothing. An answer
-- `processing` is followed by another class when the polls are over. `fence` is that of the lease that POSTed.
function history.note_answer(charges, fence, class, tenant, now)
  for _, charge in ipairs(charges) do
    if charge.fence == tonumber(fence) and charge.class ~= class then
      history.count_of(charge.account, 'answers:' .. class, tenant, 1, now)
      if not charge.class then history.time(charge.account, 'endpoint', tenant, now - charge.intent_at, now) end
    end
  end
end

-- Count that charges were booked as useful, repeated, wasted or unknown. What moves to another class later is counted
-- beside it, so that no count ever goes down.
function history.note_use(account, class, tenant, by, now)
  if by > 0 then history.count_of(account, 'charges:' .. class, tenant, by, now)
  else history.count_of(account, 'charges_back:' .. class, tenant, -by, now) end
end

-- Count the end of a job. `ending` is that of jobs.finish; `cancelled` says when a cancelled job was cancelled. A job
-- that was replayed (`forgiven`) began long ago, so its time is none of the queue's.
function history.note_end(account, ending, cancelled, tenant, created_at, forgiven, now)
  local code = ending.error and cjson.decode(ending.error).code or cancelled
  local name = 'ended:' .. ending.state
  history.count_of(account, code and name .. ':' .. code or name, tenant, 1, now)
  if not cancelled and not forgiven then history.time(account, 'total', tenant, now - created_at, now) end
end

-- The tenant of a group: groups of deliveries may be named `~tenant`.
local function tenant_of(group) return string.match(group, '^~?(.*)$') end

-- Count what rescue did for an item: `lease_expired`, or `message_late` (it was not claimed in time, and sent again).
function history.note_rescue(why, group, now) history.count('rescues:' .. why, tenant_of(group), 1, now) end

-- Count a delivery attempt by what followed it, and how long after its event it was delivered; one that was sent again
-- by hand has no lag.
function history.note_delivery(move, group, created_at, by_hand, now)
  local tenant = tenant_of(group)
  history.count('deliveries:' .. move, tenant, 1, now)
  if move == 'delivered' and created_at and not by_hand then
    history.time(NO_ACCOUNT, 'lag', tenant, now - created_at, now)
  end
end

return history
