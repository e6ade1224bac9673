"""Edits: one attempt at a job, from the claim to the settlement. Start with `attempt.py`."""
