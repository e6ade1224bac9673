"""The commands for tenants: `retouch keys limits` and `retouch erase`."""
