"""The store: the data of Retouch in Redis, and the scripts that change it. Start with `keys.py`."""
