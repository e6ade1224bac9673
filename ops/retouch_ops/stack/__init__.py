"""`retouch up`: all parts of Retouch on one machine, without Docker, root, key or network."""
