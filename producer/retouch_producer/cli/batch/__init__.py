"""
The command `retouch batch`: enqueues many edits from a file, and can continue after an interruption. Read `run.py`
first.
"""
