"""The commands for jobs: `jobs`, `job`, `watch`, `cancel`, `replay`, `approve`, `unapprove`."""
