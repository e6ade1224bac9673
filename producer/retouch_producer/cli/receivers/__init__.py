"""The commands for receivers of webhooks: `retouch receivers`."""
