"""`retouch doctor`: checks everything that a running Retouch depends on, and says what to do about each fault."""
