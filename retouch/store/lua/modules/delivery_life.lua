-- How long deliveries are kept, and how long the jobs that they belong to are kept.

local delivery_life = {}

delivery_life.LOG_S = 30 * 86400
delivery_life.SCHEDULE_S = 100 * 3600  -- a job outlives its deliveries' schedule (75 h), whatever its retention

return delivery_life
