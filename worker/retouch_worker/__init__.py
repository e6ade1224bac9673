"""The worker: edit attempts, delivery attempts, rescue, and the Celery app that runs them."""
