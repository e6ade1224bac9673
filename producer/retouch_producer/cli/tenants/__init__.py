"""The commands for tenants: `keys limits`, `erase`."""
