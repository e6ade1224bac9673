"""Turns a parsed request into a job in the store: captures its picture, and enqueues in batches. Estimates dry runs."""
