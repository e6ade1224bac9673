"""`retouch audit`."""
