-- The clock: Redis' own, so that workers whose clocks differ agree. Instants are Unix seconds, written with three
-- decimals; a day is a UTC day, counted from 1970.

local clock = {}

clock.DAY_S = 86400

function clock.now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

function clock.instant(seconds) return string.format('%.3f', seconds) end

local the_day

function clock.today()
  the_day = the_day or math.floor(clock.now() / clock.DAY_S)
  return the_day
end

return clock
