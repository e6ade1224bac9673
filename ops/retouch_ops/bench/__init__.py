"""
`retouch bench`: what Retouch costs, beside the same work with no queue and beside Celery as tutorials write it.

One file for each measurement; `baselines/` holds what they are measured against. Nothing is asserted on time: the
machine's noise hits all three alike, so the ratios are what to read.
"""
