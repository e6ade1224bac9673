-- History: counts of what happens, written by the scripts that move things, so that they are as exact as the moves. A
-- count has a name such as `enqueued`, `ended:failed:spam_filter` or `wait:0.5` (a latency up to 0.5 s), an account
-- ('-': none) and a tenant. What happens in one step is one field with several names, joined by '+': a command costs
-- more than its names. The counts of a minute are rolled up by roll_up.lua when it is over.
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

-- The bucket of a latency, by its upper bound in seconds; history_counts.py has the same bounds. One expression needs
-- no table, and makes no text of a number. A clock that was set back makes no latency below zero.
function history.bucket(s)  -- luacheck: ignore 561 (one comparison after the other, and no branch beside them)
  return s <= 0.01 and '0.01' or s <= 0.025 and '0.025' or s <= 0.05 and '0.05' or s <= 0.1 and '0.1'
    or s <= 0.25 and '0.25' or s <= 0.5 and '0.5' or s <= 1 and '1' or s <= 2.5 and '2.5' or s <= 5 and '5'
    or s <= 10 and '10' or s <= 30 and '30' or s <= 60 and '60' or s <= 120 and '120' or s <= 300 and '300'
    or s <= 600 and '600' or s <= 1800 and '1800' or s <= 3600 and '3600' or s <= 7200 and '7200'
    or s <= 21600 and '21600' or s <= 86400 and '86400' or 'inf'
end

return history
