"""
A process of its own serves the tenants that use much of the gateway.

All requests of a process share one interpreter, so a tenant with thousands of requests would make all other tenants
slow. The gateway measures how much each tenant uses (`http/tenant_load.py`). While a tenant is busy, the gateway hands
the tenant's connections to a second process with low priority (`handover.py`, `../second_process.py`).
"""
