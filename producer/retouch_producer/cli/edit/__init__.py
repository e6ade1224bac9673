"""The command `retouch edit`."""
