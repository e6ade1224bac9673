"""The gateway's routes: one module for each resource of the HTTP API."""
