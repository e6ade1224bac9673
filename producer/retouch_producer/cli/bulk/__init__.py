"""`retouch bulk`, and the commands that act on all jobs that match a query."""
