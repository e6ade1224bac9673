"""The commands about deliveries: `deliveries`, `redeliver`."""
