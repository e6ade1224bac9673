-- Ends jobs, and opens them again.
-- Keys: rt:edits:spec:{job}, rt:edits:state:{job}, rt:timeline:{job}, rt:edits:counts, rt:edits:dead, rt:jobs:{tenant}.

local backlog = require('backlog')
local charge_record = require('charge_record')
local clock = require('clock')
local delivery_life = require('delivery_life')
local events = require('events')
local history = require('history')
local images = require('images')
local job_index = require('job_index')
local json = require('json')
local keys = require('keys')
local ledger = require('ledger')
local slots = require('slots')
local specs = require('specs')

local jobs = {}

-- The keys that belong to one job and are kept as long as its record.
function jobs.keys_of(job) return { keys.spec('edits', job), keys.state('edits', job), 'rt:timeline:' .. job } end

-- Open a job that was over: its record has no end any more. Called while the record still says how it ended.
function jobs.reopen(job)
  job_index.note_reopened(job)
  redis.call('ZREM', 'rt:edits:dead', job)
  for _, name in ipairs(jobs.keys_of(job)) do redis.call('PERSIST', name) end
end

local function when_cancelled(charges)
  return charge_record.count_possible(charges) > 0 and 'after_charge' or 'before_charge'
end

-- Write how the job ended into its state and its lane's counts.
local function record_end(job, tenant, ending, cancelled, now)
  local own, at = keys.state('edits', job), clock.instant(now)
  redis.call('HSET', own, 'group', tenant, 'state', ending.state, 'message_requested', '0', 'finished_at', at)
  if cancelled then redis.call('HSET', own, 'cancelled', cancelled) end
  if ending.error then redis.call('HSET', own, 'error', ending.error) else redis.call('HDEL', own, 'error') end
  if ending.result then redis.call('HSET', own, 'result', ending.result) end
  redis.call('HINCRBY', 'rt:edits:counts', ending.state, 1)
  if ending.state == 'failed' then redis.call('ZADD', 'rt:edits:dead', at, job) end
end

local function details_of(ending, charges, cancelled)
  local details = { 'charges', json.list(charges) }
  local function add(name, text)
    if not text then return end
    details[#details + 1] = name
    details[#details + 1] = text
  end
  add('error', ending.error)
  add('result', ending.result)
  add('cancelled', cancelled and cjson.encode(cancelled))
  return details
end

local function code_of(ending) return ending.error and cjson.decode(ending.error).code end

-- The names that history counts for an end. The time of a job that was cancelled says nothing, nor that of one that was
-- replayed (`forgiven`) and so began long ago.
local function names_of_end(state, code, cancelled, forgiven, total_s)
  local detail = code or cancelled
  local name = 'ended:' .. state .. (detail and ':' .. detail or '')
  if cancelled or forgiven then return name end
  return name .. '+total:' .. history.bucket(total_s)
end

-- Book the charges, and count the end. Both are counted by one command if the last charge is of the job's account.
local function book(job, tenant, charges, result, account, names, now)
  local last = charges[#charges]
  local with = last and (last.account or false) == account and names or nil
  local is_changed = last and ledger.book(job, tenant, specs.tags_of(job), charges, result, now, with)
  if not (with and is_changed) then history.count(names, account, tenant, 1, now) end
end

-- End a job: state, counts, dead letter, event, and a TTL on all keys of its own. `ending` has the `state`, and the
-- JSON texts of `error` and `result` if there are any.
function jobs.finish(job, tenant, ending, now, retention_s)
  slots.release('edits', tenant, job)
  local known = redis.call('HMGET', keys.state('edits', job), 'created_at', 'account', 'forgiven')
  local created_at, account, forgiven = known[1] or clock.instant(now), known[2], known[3]
  local charges = charge_record.of(job)
  local code = code_of(ending)
  job_index.note_end(job, tenant, ending.state, created_at, code, now)
  local cancelled = ending.state == 'cancelled' and when_cancelled(charges) or nil
  record_end(job, tenant, ending, cancelled, now)
  local names = names_of_end(ending.state, code, cancelled, forgiven, now - created_at)
  book(job, tenant, charges, ending.result, account, names, now)
  local is_delivered = events.record(job, tenant, 'edit.' .. ending.state, now, details_of(ending, charges, cancelled))
  local life_s = math.ceil(is_delivered and math.max(retention_s, delivery_life.SCHEDULE_S) or retention_s)
  for _, name in ipairs(jobs.keys_of(job)) do redis.call('EXPIRE', name, life_s) end
  images.keep(tenant, ending.result and images.of_result(ending.result) or images.brought(job), now + life_s)
end

-- End a job that nobody works on, wherever it waits.
function jobs.finish_waiting(job, tenant, ending, now, retention_s)
  backlog.withdraw('edits', tenant, job)
  redis.call('HSETNX', keys.state('edits', job), 'created_at', job_index.created_at(job, tenant, now))
  jobs.finish(job, tenant, ending, now, retention_s)
end

return jobs
