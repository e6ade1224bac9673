"""The commands for lanes: `status`, `pause`, `resume`."""
