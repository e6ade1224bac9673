"""`retouch keys`."""
