"""The command `retouch stats`."""
