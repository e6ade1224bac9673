"""
`retouch bench`: what Retouch costs, compared with the same work without a queue and with Celery as tutorials write it.

Each measurement has its file; `baselines/` holds what Retouch is compared with. No measurement fails because of a time.
Noise of the machine affects all three alike, so read the ratios rather than the times.
"""
