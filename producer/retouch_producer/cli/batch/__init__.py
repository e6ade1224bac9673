"""`retouch batch`: many edits from a file, resumable. Start with `run.py`."""
