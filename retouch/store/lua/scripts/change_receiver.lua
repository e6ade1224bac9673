-- Change a receiver, unless it is no longer on record: one that was removed must not come back as a part of itself.
-- Keys: rt:receiver:{id}, rt:receivers_disabled, rt:deliveries:health:{id}, rt:deliveries:failing,
--       rt:deliveries:failing:{tenant}.
-- ARGV: receiver, then a name and a value for each field that changes.
-- Returns 1, or 0 if the receiver is not on record.
local receiver = ARGV[1]
local fields = { unpack(ARGV, 2) }

local function enable(tenant)
  redis.call('SREM', 'rt:receivers_disabled', receiver)
  -- Failures from before it was disabled show nothing about it now.
  redis.call('DEL', 'rt:deliveries:health:' .. receiver)
  redis.call('ZREM', 'rt:deliveries:failing', receiver)
  redis.call('ZREM', 'rt:deliveries:failing:' .. tenant, receiver)
end

local own = 'rt:receiver:' .. receiver
local tenant = redis.call('HGET', own, 'tenant')
if not tenant then return 0 end
redis.call('HSET', own, unpack(fields))
for at = 1, #fields, 2 do
  if fields[at] == 'disabled' and fields[at + 1] == '1' then
    redis.call('SADD', 'rt:receivers_disabled', receiver)
  elseif fields[at] == 'disabled' then
    enable(tenant)
  end
end
return 1
