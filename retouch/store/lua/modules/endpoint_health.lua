-- Changes a gate after an answer to a call that it let through: its rest, its limit, its breaker, and whether its
-- account is closed. Keys: the gate's hash, rt:feed.

local account_closing = require_late('account_closing')
local breaker = require('breaker')
local clock = require('clock')
local learned_limit = require('learned_limit')

local endpoint_health = {}

local FULL_S = 1  -- a full queue refuses the next job as well: a moment's rest for all jobs behind the gate

-- `health` is 'full', 'ok', 'alive', 'down', 'closed CODE' (an answer that every job of the account would get; only
-- where there are several) or ''; `is_free`: the POST cost nothing. Return for how many seconds this opened the
-- breaker, or '', and the event 'account.closed' or 'account.opened', or ''.
function endpoint_health.learn(gate, account, job, health, is_free, now)
  if health == '' then return '', '' end
  if string.sub(health, 1, 7) == 'closed ' then
    return '', account_closing().close(gate, account, job, string.sub(health, 8), now)
  elseif health == 'full' then
    redis.call('HSET', gate, 'full_until', clock.instant(now + FULL_S))
    learned_limit.lower(gate, now)
  elseif health == 'ok' then
    learned_limit.raise(gate, now)
  end
  if health == 'down' then return breaker.note_down(gate, job, is_free, now), '' end
  return '', breaker.close(gate, job) and account_closing().announce('account.opened', account) or ''
end

return endpoint_health
