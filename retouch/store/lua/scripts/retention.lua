-- Delete entries of one index by time whose records are gone: a record has a TTL, an index entry cannot have one. Some
-- old records are kept longer than others (a job waits for its deliveries), so the search continues past them.
-- Keys: the indexes that ARGV names, rt:L:spec:{item}.
-- ARGV: index, lane, older_s, place, list of indexes by the instant of the last look ('' or its key), and further
--       indexes from which the same entries are deleted. The script reads some of the entries that are older than
--       older_s, oldest first, from that place on.
-- Returns {number of deleted entries, place for the next call, or -1 at the end}.
local index, lane, older_s, start, list = unpack(ARGV, 1, 5)
local further_indexes = { unpack(ARGV, 6) }

local clock = require('clock')
local specs = require('specs')

local MOST = 1000

-- An index that was read to its end leaves the list of indexes if it is empty.
local function note_looked_through()
  if redis.call('EXISTS', index) == 0 then redis.call('ZREM', list, index)
  else redis.call('ZADD', list, 'XX', clock.instant(clock.now()), index) end
end

local function drop(entry)
  for _, further in ipairs(further_indexes) do redis.call('ZREM', further, entry) end
  return redis.call('ZREM', index, entry)
end

local place, gone = tonumber(start), 0
local old_until = clock.now() - tonumber(older_s)
local entries = redis.call('ZRANGE', index, place, place + MOST - 1, 'WITHSCORES')
for at = 1, #entries, 2 do
  if tonumber(entries[at + 1]) > old_until then
    place = -1
    break
  end
  if specs.is_on_record(lane, entries[at]) then place = place + 1 else gone = gone + drop(entries[at]) end
end
if #entries < 2 * MOST then place = -1 end
if place == -1 and list ~= '' then note_looked_through() end
return { gone, place }
