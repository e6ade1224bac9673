"""
Serves tenants that use much of the gateway in a process of their own.

All requests of a process share one interpreter. A tenant with thousands of requests would make all other tenants slow.
So the gateway measures what each tenant uses (`http/tenant_load.py`). As long as a tenant is busy, the gateway hands
the tenant's connections to a second process with little priority (`handover.py`, `../second_process.py`).
"""
