-- Rows of rolled-up history: a row of a hash has the counts of all ('*'), of one account ('a:{account}') or of one
-- tenant ('t:{tenant}'), as text: "name=count name=count". Tenants beyond the busiest ones are summed up in 'other'.
-- Keys: rt:history:minute:{minute}, rt:history:hour:{hour}, rt:history:totals.

local history_rows = {}

local OTHER = 'other'

local function counts_of(text)
  local counts = {}
  for name, count in string.gmatch(text or '', '(%S+)=(%d+)') do counts[name] = tonumber(count) end
  return counts
end

local function text_of(counts)
  local words = {}
  for name, count in pairs(counts) do words[#words + 1] = name .. '=' .. string.format('%.0f', count) end
  return table.concat(words, ' ')
end

local function add(rows, row, name, count)
  local counts = rows[row] or {}
  rows[row] = counts
  counts[name] = (counts[name] or 0) + count
end

local function add_all(rows, row, counts)
  for name, count in pairs(counts) do add(rows, row, name, count) end
end

-- A charge of another account than `default` has its account in its name, in the rows of all accounts: each has its own
-- price.
local function name_of(name, account)
  if account == 'default' or string.sub(name, 1, 7) ~= 'charges' then return name end
  return name .. ':' .. account
end

-- Make rows of the counts of an open minute, a flat list of fields and counts; see history.lua.
function history_rows.of_open_minute(flat)
  local rows = {}
  for at = 1, #flat, 2 do
    local names, account, tenant = string.match(flat[at], '^(%S+) (%S+) (%S+)$')
    local count = tonumber(flat[at + 1])
    for name in string.gmatch(names, '[^+]+') do
      local own = name_of(name, account)
      add(rows, '*', own, count)
      add(rows, 't:' .. tenant, own, count)
      if account ~= '-' then add(rows, 'a:' .. account, name, count) end
    end
  end
  return rows
end

-- The rows of tenants, the busiest first.
local function tenants_by_size(rows)
  local found = {}
  for row, counts in pairs(rows) do
    if string.sub(row, 1, 2) == 't:' then
      local sum = 0
      for _, count in pairs(counts) do sum = sum + count end
      found[#found + 1] = { row = row, sum = sum }
    end
  end
  table.sort(found, function(one, other)
    if one.sum == other.sum then return one.row < other.row end
    return one.sum > other.sum
  end)
  return found
end

-- Keep so many tenants by name; return the rows of those that went.
function history_rows.keep_busiest(rows, most)
  local gone = {}
  for place, tenant in ipairs(tenants_by_size(rows)) do
    if place > most then
      add_all(rows, OTHER, rows[tenant.row])
      rows[tenant.row] = nil
      gone[#gone + 1] = tenant.row
    end
  end
  return gone
end

local function read(key)
  local flat, rows = redis.call('HGETALL', key), {}
  for at = 1, #flat, 2 do rows[flat[at]] = counts_of(flat[at + 1]) end
  return rows
end

-- Read, rank and write a hash only when it is half as long again as it may be: most minutes change a few rows of it.
local function shorten(key, most)
  if redis.call('HLEN', key) <= most * 3 / 2 then return end
  local rows = read(key)
  for _, row in ipairs(history_rows.keep_busiest(rows, most)) do redis.call('HDEL', key, row) end
  if rows[OTHER] then redis.call('HSET', key, OTHER, text_of(rows[OTHER])) end
end

-- Add rows to a hash that keeps about so many tenants by name.
function history_rows.merge(key, rows, most)
  for row, counts in pairs(rows) do
    local sums = counts_of(redis.call('HGET', key, row))
    for name, count in pairs(counts) do sums[name] = (sums[name] or 0) + count end
    redis.call('HSET', key, row, text_of(sums))
  end
  shorten(key, most)
end

return history_rows
