"""`retouch edit`."""
