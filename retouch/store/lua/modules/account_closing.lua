-- Closes an account of the endpoint after an answer that every job would get there. The account stays closed until
-- somebody tests it: one job is then let through, like a probe of the breaker. Keys: the gate's hash, rt:feed.

local clock = require('clock')

local account_closing = {}

local CLOSED_S = 3650 * clock.DAY_S  -- it is opened by hand, not by time

-- Append the event that the gate's account was closed or opened; return the event's type.
function account_closing.announce(type, account)
  redis.call('XADD', 'rt:feed', '*', 'job', '', 'sequence', 0, 'type', type, 'account', account, 'tenant', '')
  return type
end

-- Close the account. Return the event's type, or '' if it is closed already and this was not the probe.
function account_closing.close(gate, account, job, reason, now)
  local closed, probe = unpack(redis.call('HMGET', gate, 'closed', 'probing'))
  if closed and probe ~= job then return '' end
  -- With `down`, the next answer to the probe opens the account: breaker.close does nothing without it.
  redis.call('HSET', gate, 'closed', reason, 'closed_at', clock.instant(now), 'down', 1, 'open_until',
    clock.instant(now + CLOSED_S))
  redis.call('HDEL', gate, 'probing')
  return account_closing.announce('account.closed', account)
end

return account_closing
