"""The commands for API keys: `retouch keys`."""
