"""What does the work: edit attempts, delivery attempts, rescue, and the Celery worker around them."""
