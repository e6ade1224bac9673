"""`python -m retouch_producer.gateway.openapi_file` prints the OpenAPI description without starting a server."""

from __future__ import annotations

import json
import sys

from retouch.settings import Settings
from retouch_producer.gateway.app import make_gateway

if __name__ == "__main__":
    json.dump(make_gateway(Settings.load()).openapi(), sys.stdout, indent=2)
