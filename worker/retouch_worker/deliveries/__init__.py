"""Deliveries: one attempt to send one event to one receiver. Start with `attempt.py`."""
