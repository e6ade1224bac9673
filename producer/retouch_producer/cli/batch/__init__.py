"""`retouch batch`: many edits from a file, resumable. Begin with `run.py`."""
