"""
`retouch bench`: what Retouch costs, compared with the same work without a queue and with Celery as in tutorials.

There is one file for each measurement; `baselines/` has what Retouch is compared with. No measurement fails because of
a time. Noise of the machine affects all three alike, so read the ratios rather than the times.
"""
