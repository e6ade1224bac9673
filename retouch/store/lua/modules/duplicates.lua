-- Requests that need no job of their own: those with an idempotency key that was used, and exact duplicates of a job
-- that may still yield its image. Keys: rt:idem:{tenant}:{key}, rt:shared:{tenant}:{hash}, rt:sharing, rt:blobs.

local keys = require('keys')
local specs = require('specs')

local duplicates = {}

local REMEMBERED_S = 86400

local shares = {}  -- whether a tenant's duplicates share a job, as far as it was asked

local function is_sharing(tenant)
  if shares[tenant] == nil then shares[tenant] = redis.call('HGET', 'rt:sharing', tenant) == '1' end
  return shares[tenant]
end

-- Return the key of an idempotency key, or nil if there is none.
function duplicates.idem_name(tenant, idem) return idem ~= '' and 'rt:idem:' .. tenant .. ':' .. idem or nil end

-- Return the key under which exact duplicates find the job that they share, or nil.
function duplicates.share_name(tenant, share_key)
  return share_key ~= '-' and is_sharing(tenant) and 'rt:shared:' .. tenant .. ':' .. share_key or nil
end

local function remember(name, value) redis.call('SET', name, value, 'EX', REMEMBERED_S) end

-- Return whether a job may be shared: it may still yield an image, or its image is kept.
local function is_worth_sharing(job)
  if not specs.is_on_record('edits', job) then return false end
  local state, cancel, result = unpack(redis.call('HMGET', keys.state('edits', job), 'state', 'cancel', 'result'))
  if cancel == '1' or state == 'failed' or state == 'cancelled' then return false end
  if state ~= 'succeeded' then return true end
  return result and redis.call('ZSCORE', 'rt:blobs', cjson.decode(result).name)
end

-- Return the result for an idempotency key that was used before, or nil for a new one.
local function find_bound(id, fingerprint, idem_name)
  local bound = idem_name and redis.call('GET', idem_name)
  if not bound then return nil end
  local earlier, first_fingerprint = string.match(bound, '^(%S+) (%S+)$')
  if earlier == id then return 'new' end
  return first_fingerprint == fingerprint and 'replayed ' .. earlier or 'conflict'
end

-- Return the result for a request that needs no job of its own, or nil.
function duplicates.find(id, fingerprint, idem_name, share_name, spec)
  local bound = find_bound(id, fingerprint, idem_name)
  if bound then return bound end
  if spec == '' then return 'absent' end
  local holder = share_name and redis.call('GET', share_name)
  if not holder or holder == id or not is_worth_sharing(holder) then return nil end
  if idem_name then remember(idem_name, holder .. ' ' .. fingerprint) end
  return 'shared ' .. holder
end

-- Write that the keys of a request belong to its new job.
function duplicates.remember(id, fingerprint, idem_name, share_name)
  if idem_name then remember(idem_name, id .. ' ' .. fingerprint) end
  if share_name then remember(share_name, id) end
end

return duplicates
