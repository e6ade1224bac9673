"""The commands about tenants: `keys limits`, `erase`."""
