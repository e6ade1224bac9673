"""The command `retouch audit`."""
