"""The commands for accounts of the endpoint: `retouch accounts`."""
