"""`retouch doctor`: looks at everything that a running Retouch stands on, and says what to do about what it finds."""
