"""`python -m producer.gateway.description` prints the OpenAPI description, without a server."""

from __future__ import annotations

import json
import sys

from producer.gateway.app import make_gateway
from retouch.settings import Settings

if __name__ == "__main__":
    json.dump(make_gateway(Settings.load()).openapi(), sys.stdout, indent=2)
