"""`retouch receivers`."""
