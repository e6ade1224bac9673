"""The commands about jobs: `jobs`, `job`, `watch`, `cancel`, `replay`."""
