-- JSON text, written by cjson. A text that is JSON already (a worker's error or result, an instant with its three
-- decimals) is inserted as it is: if it were decoded and encoded again, an empty list would become {} and long numbers
-- would lose their last digits.

local json = {}

-- `members` holds names and JSON texts, in turn.
function json.object(members)
  local written = {}
  for at = 1, #members, 2 do written[#written + 1] = cjson.encode(members[at]) .. ':' .. members[at + 1] end
  return '{' .. table.concat(written, ',') .. '}'
end

-- cjson writes an empty table as an object.
function json.list(values) return #values > 0 and cjson.encode(values) or '[]' end

return json
