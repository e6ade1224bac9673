"""The side that enqueues: the commands of `retouch` for producers, and the HTTP gateway."""
