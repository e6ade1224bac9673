"""JSON as the json module reads it. What a document holds is checked where it is read, not by the type checker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""An object that its holder may change."""

Document = Mapping[str, Any]
"""An object to read from."""
