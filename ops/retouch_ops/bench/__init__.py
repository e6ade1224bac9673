"""
`retouch bench` measures the cost of Retouch, and compares it with two baselines: no queue, and Celery as in tutorials.

There is one file for each measurement, and `baselines/` has the programs of the baselines. A slow result is no failure.
Noise of the machine changes all times alike, so read the ratios rather than the times.
"""
