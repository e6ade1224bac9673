"""The store: what Retouch keeps in Redis, and the scripts that change it. Start with `keys.py`."""
