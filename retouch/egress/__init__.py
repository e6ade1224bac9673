"""
HTTP to addresses of others: the endpoint, pictures, webhooks. In `retouch`, only this package imports requests and
urllib3.
"""
