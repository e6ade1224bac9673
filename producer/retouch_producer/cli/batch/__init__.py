"""`retouch batch`: many edits from a file, resumable. `run.py` is the entry."""
