-- Checkpoints: what the next attempt resumes from when an answer was paid. The answer to another POST of the same job
-- is put aside as a spare, and taken up when the first one comes to nothing. Keys: rt:edits:state:{job}.

local keys = require('keys')

local checkpoints = {}

-- A job whose answer is paid for needs no call, only its image: it goes first, and no budget counts it.
function checkpoints.is_paid(lane, item)
  local checkpoint = lane == 'edits' and redis.call('HGET', keys.state(lane, item), 'checkpoint')
  return checkpoint and checkpoint ~= ''
end

-- Put the answer to the POST of that lease aside.
function checkpoints.put_aside(job, checkpoint, fence)
  redis.call('HSET', keys.state('edits', job), 'spare', checkpoint, 'spare_of', fence or '')
end

-- Keep the answer to the POST of that lease. Looks and waits are counted for each paid answer: those before it must
-- not shorten the tries to bring it home.
function checkpoints.keep(job, checkpoint, fence)
  local own = keys.state('edits', job)
  local known = redis.call('HMGET', own, 'checkpoint', 'checkpoint_of')
  if known[1] and known[1] ~= '' and known[2] ~= fence then checkpoints.put_aside(job, known[1], known[2]) end
  redis.call('HSET', own, 'checkpoint', checkpoint, 'checkpoint_of', fence)
  redis.call('HDEL', own, 'polls', 'waits', 'crashes')
end

-- Write what an attempt leaves behind: a checkpoint (JSON), '-' to forget it, '' to keep what is there. Return true
-- when the answer was given up and the spare one stands in its place.
function checkpoints.leave(job, checkpoint, is_given_up)
  local own = keys.state('edits', job)
  local spare = (checkpoint == '-' or is_given_up) and redis.call('HGET', own, 'spare')
  if spare then
    redis.call('HSET', own, 'checkpoint', spare, 'checkpoint_of', redis.call('HGET', own, 'spare_of') or '')
    redis.call('HDEL', own, 'spare', 'spare_of', 'polls', 'waits')
    return true
  end
  if checkpoint == '-' then redis.call('HDEL', own, 'checkpoint', 'checkpoint_of')
  elseif checkpoint ~= '' then redis.call('HSET', own, 'checkpoint', checkpoint) end
  return false
end

return checkpoints
