-- Collects the values that go to one key, so that 500 jobs take only a few commands. A command gets at most 2,000
-- values, since Lua can unpack only some thousands.

local batch = {}

local COLLECTED_MOST = 2000
local WORDS = { ['ZADD NX'] = { 'ZADD', 'NX' }, ZADD = { 'ZADD' }, RPUSH = { 'RPUSH' } }

local lists = {}

-- Collect one or two values for a command on a key; a key has one command.
function batch.add(command, name, first, second)
  local list = lists[name]
  if not list then
    local word, option = unpack(WORDS[command])
    list = { word, name, option }
    lists[name] = list
  end
  list[#list + 1] = first
  list[#list + 1] = second
  if #list > COLLECTED_MOST then
    redis.call(unpack(list))
    lists[name] = nil
  end
end

function batch.flush()
  for _, list in pairs(lists) do redis.call(unpack(list)) end
  lists = {}
end

return batch
