"""Types for JSON as the json module returns it. They do not state the types of the values inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object that may be changed by the code that has it."""

Document = Mapping[str, Any]
"""A JSON object that is only read by the code that has it."""
