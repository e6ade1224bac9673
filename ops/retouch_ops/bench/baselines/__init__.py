"""The baselines of `retouch bench`: the same work without a queue, and Celery as tutorials write it."""
