"""Types for JSON as the json module reads it. The types of the values inside are not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object that may be changed."""

Document = Mapping[str, Any]
"""A JSON object that is only read."""
