-- Read history in one step, so that a minute which is rolled up meanwhile is neither missed nor read twice.
-- Keys: rt:history:unrolled, rt:history:open:{minute}, rt:history:minute:{minute}, rt:history:hour:{hour},
--       rt:history:totals.
-- ARGV: row ('*', 'a:{account}', 't:{tenant}'; '' for all rows), first and last of the open minutes to read, then names
--       of hashes: 'minute:{minute}', 'hour:{hour}' or 'totals'.
-- Returns {for each hash, a flat list of rows and their texts; for each open minute {minute, flat list of names and
--         counts}}.
local row, first, last = unpack(ARGV, 1, 3)
local names = { unpack(ARGV, 4) }

local hashes, open = {}, {}
for _, name in ipairs(names) do
  local key = 'rt:history:' .. name
  if row == '' then
    hashes[#hashes + 1] = redis.call('HGETALL', key)
  else
    local text = redis.call('HGET', key, row)
    hashes[#hashes + 1] = text and { row, text } or {}
  end
end
for _, minute in ipairs(redis.call('SMEMBERS', 'rt:history:unrolled')) do
  if tonumber(minute) >= tonumber(first) and tonumber(minute) <= tonumber(last) then
    open[#open + 1] = { minute, redis.call('HGETALL', 'rt:history:open:' .. minute) }
  end
end
return { hashes, open }
