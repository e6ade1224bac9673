"""Edits: one attempt at a job, from its claim to its settlement. Start with `attempt.py`."""
