"""HTTP to the outside: requests and urllib3 are imported here and nowhere else in `retouch`."""
