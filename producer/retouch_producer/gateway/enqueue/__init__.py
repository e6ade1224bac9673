"""
Turns a parsed request into a job: captures its picture, and enqueues in batches. Answers dry runs with an estimate.
"""
