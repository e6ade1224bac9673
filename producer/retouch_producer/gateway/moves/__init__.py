"""Changes by hand that the API and the console both offer: each is made, and written into the audit, in one place."""
