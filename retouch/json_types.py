"""Types for JSON as the json module reads it; the type checker cannot know the types of its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""An object that may be changed."""

Document = Mapping[str, Any]
"""An object that is only read."""
