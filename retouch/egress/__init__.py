"""
HTTP calls to servers of others: the endpoint, servers of pictures, receivers of webhooks. In `retouch`, only this
package imports requests and urllib3.
"""
