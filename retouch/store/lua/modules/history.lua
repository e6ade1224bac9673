-- History: counts of what happens, written by the scripts that move things, so that they are as exact as the moves. A
-- count has a name such as `enqueued`, `ended:failed:spam_filter` or `wait:0.5` (a latency up to 0.5 s), an account
-- ('-': none) and a tenant. The counts of one step are one field with several names, joined by '+', since a command
-- costs more than further names. When a minute is over, roll_up.lua rolls up its counts.
-- Keys: rt:history:open:{minute}, rt:history:unrolled.

local history = {}

local MINUTE_S = 60

-- Count `by` of each name; nil or false is the account `default`.
function history.count(names, account, tenant, by, now)
  local minute = math.floor(now / MINUTE_S)
  local field = names .. ' ' .. (account or 'default') .. ' ' .. tenant
  -- Only a field that is new in its minute costs a second command.
  if redis.call('HINCRBY', 'rt:history:open:' .. minute, field, by) == by then
    redis.call('SADD', 'rt:history:unrolled', minute)
  end
end

-- Count what belongs to no account; groups of deliveries may be named `~tenant`.
function history.count_of_group(names, group, by, now)
  history.count(names, '-', string.match(group, '^~?(.*)$'), by, now)
end

-- The bucket of a latency: the first of some upper bounds (seconds, as text) that is not below it. It needs no table,
-- and makes no text of a number. A clock that was set back makes no latency below zero.
function history.bound(seconds, bounds)
  for bound in string.gmatch(bounds, '%S+') do
    if seconds <= tonumber(bound) then return bound end
  end
  return 'inf'
end

-- The bucket of a wait, a lag or a whole job; history_counts.py has the same bounds.
function history.bucket(seconds)
  if seconds <= 1 then return history.bound(seconds, '0.01 0.025 0.05 0.1 0.25 0.5 1') end
  return history.bound(seconds, '2.5 5 10 30 60 120 300 600 1800 3600 7200 21600 86400')
end

return history
