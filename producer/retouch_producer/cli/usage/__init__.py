"""`retouch usage`."""
