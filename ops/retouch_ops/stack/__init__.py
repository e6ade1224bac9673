"""`retouch up`: the whole of Retouch on one machine, without Docker, root, key or network."""
