-- The states in which a job is over.

local job_states = {}

local FINAL = { succeeded = true, failed = true, cancelled = true }

function job_states.is_final(state) return FINAL[state] or false end

-- True for `edit.succeeded`, `edit.failed` and `edit.cancelled`.
function job_states.is_end(event_type) return FINAL[string.sub(event_type, 6)] or false end

return job_states
