"""The commands for deliveries: `deliveries`, `redeliver`."""
