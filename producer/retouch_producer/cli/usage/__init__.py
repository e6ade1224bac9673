"""The command `retouch usage`."""
