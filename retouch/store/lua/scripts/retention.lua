-- Drop entries of one index by time whose records are gone: records end by their own TTL, an index entry cannot.
-- ARGV: index, lane, older_s, place, list of indexes ('' or its key), seconds until retention comes again, and further
--       indexes that what goes is dropped from.  Looks at some entries from that place on, oldest first, as far as they are older.
-- Returns {entries that went, place to go on from; -1 at the end}. Some old records are kept longer than others (a job
-- waits for its deliveries), so those that are still kept must not hide the gone ones behind them.
local MOST = 1000
local index, lane, place = ARGV[1], ARGV[2], tonumber(ARGV[4])
local old_until = now_s() - tonumber(ARGV[3])
local entries = redis.call('ZRANGE', index, place, place + MOST - 1, 'WITHSCORES')
local gone = 0
for at = 1, #entries, 2 do
  if tonumber(entries[at + 1]) > old_until then
    place = -1
    break
  end
  if redis.call('EXISTS', key(lane, 'spec:' .. entries[at])) == 0 then
    gone = gone + redis.call('ZREM', index, entries[at])
    for further = 7, #ARGV do redis.call('ZREM', ARGV[further], entries[at]) end
  else
    place = place + 1
  end
end
if #entries < 2 * MOST then place = -1 end
if place == -1 and ARGV[5] ~= '' then  -- looked through: it leaves the list of indexes, or is looked at again later
  if redis.call('EXISTS', index) == 0 then redis.call('ZREM', ARGV[5], index)
  else redis.call('ZADD', ARGV[5], 'XX', instant(now_s() + tonumber(ARGV[6])), index) end
end
return { gone, place }
