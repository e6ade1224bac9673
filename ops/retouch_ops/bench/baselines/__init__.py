"""The baselines of `retouch bench`: the same work without a queue, and with Celery as in tutorials."""
