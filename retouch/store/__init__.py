"""The store: what is kept in Redis, and every move of it. Start with `keys.py`."""
