"""The programs that run and watch Retouch: local stack, simulator, Flower, checks, and the `retouch` command itself."""
