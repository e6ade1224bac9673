"""Deliveries: one attempt to tell one receiver of one event. Start with `attempt.py`."""
