"""HTTP to addresses outside; only this package of `retouch` imports requests and urllib3."""
