"""
Serves tenants that use much of the gateway in a process of their own.

All requests of a process share one interpreter, in which a tenant with thousands of requests makes everybody slow. So
the gateway measures what each tenant uses (`http/tenant_load.py`). As long as one uses much more than another, it hands
the connections of the first to a second process with little priority (`handover.py`, `../second_process.py`).
"""
