"""Types for JSON as the json module returns it. They do not state the types of the values inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object that its user may change."""

Document = Mapping[str, Any]
"""A JSON object that its user only reads."""
