"""What Retouch is measured against: the same work with no queue, and Celery as tutorials write it."""
