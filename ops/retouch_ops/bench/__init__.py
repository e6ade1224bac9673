"""
`retouch bench` measures the cost of Retouch, compared with the same work without a queue and with Celery as in
tutorials.

There is one file for each measurement; `baselines/` has the two programs that Retouch is compared with. No measurement
fails because of a time. Noise of the machine affects all three programs alike, so read the ratios rather than the
times.
"""
