"""`retouch bulk`, and the commands that act on a query."""
