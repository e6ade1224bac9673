-- An account of the endpoint closes for a reason that every job of it would meet, until somebody has it tested: then
-- one job is let through, as the breaker's probe. Keys: the gate's hash, rt:feed.

local clock = require('clock')

local account_closing = {}

local CLOSED_S = 3650 * clock.DAY_S  -- it is opened by hand, not by time

-- The account of the gate was closed or opened; return the event's type.
function account_closing.announce(type, account)
  redis.call('XADD', 'rt:feed', '*', 'job', '', 'sequence', 0, 'type', type, 'account', account, 'tenant', '')
  return type
end

-- Close it. Return the event's type, or '' if it is closed already and this was not the probe.
function account_closing.close(gate, account, job, reason, now)
  local closed, probe = unpack(redis.call('HMGET', gate, 'closed', 'probing'))
  if closed and probe ~= job then return '' end
  -- `down` is what an answer looks at before it closes the breaker.
  redis.call('HSET', gate, 'closed', reason, 'closed_at', clock.instant(now), 'down', 1, 'open_until',
    clock.instant(now + CLOSED_S))
  redis.call('HDEL', gate, 'probing')
  return account_closing.announce('account.closed', account)
end

return account_closing
