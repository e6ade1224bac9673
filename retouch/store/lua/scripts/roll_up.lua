-- Roll up minutes that are over: add their counts to the minute's rows, to its hour and to the totals. The open minute
-- is deleted in the same step, so each count is added exactly once, for any number of calls. If a minute gets counts
-- after that (the clock was set back), it is open again, and the new counts are added later.
-- Keys: rt:history:unrolled, rt:history:open:{minute}, and those of history_rows.lua.
-- ARGV: about how many counts to roll up in this call; 5,000 block Redis for some 20 ms.
-- Returns how many minutes that are over must still be rolled up.
local counts_most = unpack(ARGV)

local clock = require('clock')
local history_rows = require('history_rows')

local MINUTE_S, HOUR_MINUTES = 60, 60
local MINUTES_KEPT_S, HOURS_KEPT_S = 3 * clock.DAY_S, 90 * clock.DAY_S
local TENANTS_MOST, TENANTS_MOST_EVER = 100, 1000

-- Return how many counts the minute had.
local function roll_up(minute)
  local open = 'rt:history:open:' .. minute
  local flat = redis.call('HGETALL', open)
  local rows = history_rows.of_open_minute(flat)
  history_rows.keep_busiest(rows, TENANTS_MOST)
  local of_minute = 'rt:history:minute:' .. minute
  local of_hour = 'rt:history:hour:' .. math.floor(minute / HOUR_MINUTES)
  history_rows.merge(of_minute, rows, TENANTS_MOST)
  history_rows.merge(of_hour, rows, TENANTS_MOST)
  history_rows.merge('rt:history:totals', rows, TENANTS_MOST_EVER)
  redis.call('EXPIRE', of_minute, MINUTES_KEPT_S)
  redis.call('EXPIRE', of_hour, HOURS_KEPT_S)
  redis.call('DEL', open)
  redis.call('SREM', 'rt:history:unrolled', minute)
  return #flat / 2
end

local this_minute = math.floor(clock.now() / MINUTE_S)
local rolled, left = 0, 0
for _, minute in ipairs(redis.call('SMEMBERS', 'rt:history:unrolled')) do
  if tonumber(minute) < this_minute then
    if rolled < tonumber(counts_most) then rolled = rolled + roll_up(minute) else left = left + 1 end
  end
end
return left
