"""The commands about lanes: `status`, `pause`, `resume`."""
