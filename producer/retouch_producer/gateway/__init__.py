"""The HTTP gateway: the API under `/v1`, the endpoint's own API, images behind signed links, health, metrics."""
