"""The HTTP gateway: the API under `/v1`, the drop-in for the endpoint, images under signed links, health, metrics."""
