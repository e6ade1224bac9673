-- Names of the keys that both lanes have: the table in retouch/store/keys.py says what is in each.

local keys = {}

function keys.lane(lane, name) return 'rt:' .. lane .. ':' .. name end

function keys.state(lane, item) return 'rt:' .. lane .. ':state:' .. item end

function keys.spec(lane, item) return 'rt:' .. lane .. ':spec:' .. item end

return keys
