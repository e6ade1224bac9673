"""`python -m retouch_producer.gateway` serves the gateway on the address and port of the settings."""

from retouch_producer.gateway.server import serve

if __name__ == "__main__":
    serve()
