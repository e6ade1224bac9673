-- Checkpoints: from where the next attempt continues after a paid answer. A paid answer to another POST of the same job
-- is set aside (field `spare`), and used if the first answer yields no image. Keys: rt:edits:state:{job}.

local keys = require('keys')

local checkpoints = {}

-- A job with a paid answer needs no call, only its image: it goes first, and needs no budget.
function checkpoints.is_paid(lane, item)
  local checkpoint = lane == 'edits' and redis.call('HGET', keys.state(lane, item), 'checkpoint')
  return checkpoint and checkpoint ~= ''
end

-- Set the answer to the POST of that lease aside.
function checkpoints.put_aside(job, checkpoint, fence)
  redis.call('HSET', keys.state('edits', job), 'spare', checkpoint, 'spare_of', fence or '')
end

-- Make the answer to the POST of that lease the checkpoint. Polls and waits are counted for each paid answer, so that
-- those of an earlier one do not shorten the tries for this one.
function checkpoints.keep(job, checkpoint, fence)
  local own = keys.state('edits', job)
  local known = redis.call('HMGET', own, 'checkpoint', 'checkpoint_of')
  if known[1] and known[1] ~= '' and known[2] ~= fence then checkpoints.put_aside(job, known[1], known[2]) end
  redis.call('HSET', own, 'checkpoint', checkpoint, 'checkpoint_of', fence)
  redis.call('HDEL', own, 'polls', 'waits', 'crashes')
end

-- Write the checkpoint that an attempt leaves: JSON, '-' to delete it, '' to keep the present one. Return true if the
-- answer was given up and the one that was set aside is now the checkpoint.
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
