"""HTTP to addresses outside of our own; only this package of `retouch` imports requests and urllib3."""
