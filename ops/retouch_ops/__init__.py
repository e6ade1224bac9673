"""What runs and watches Retouch: the local stack, the simulator, Flower, checks, and the `retouch` command itself."""
