"""The edits of one call to enqueue, as the gateway's batches carry them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from retouch.json_types import JsonObject
from retouch.options import DEFAULT_TENANT, JobOptions
from retouch.transport.interface import EditWithOptions

_EDITS_MOST, _BYTES_MOST = 1_000, 3_000_000  # the gateway takes 4 MB; here characters are counted, for speed


def own_tenant(tenant: str | None) -> str | None:
    """Return the tenant, or None for the default tenant: the gateway then takes the tenant of the API key."""
    return None if tenant == DEFAULT_TENANT else tenant


def wire_item(edit_and_own: EditWithOptions, common: JobOptions) -> JsonObject:
    """
    Return one edit with its options as an item of a batch.

    An item without an idempotency key gets a random one, so that the call may be repeated after a lost answer.
    """
    edit, own = edit_and_own
    options = {name: value for name, value in {**common, **own}.items() if value is not None}
    if own_tenant(own.get("tenant", common.get("tenant"))) is None:
        options.pop("tenant", None)
    key = options.get("idempotency_key") or f"auto-{secrets.token_hex(12)}"
    return {**edit.fields(), **options, "idempotency_key": key}


def batches(items: Sequence[JsonObject]) -> Iterator[tuple[int, list[JsonObject]]]:
    """Yield batches of items that fit into one HTTP call, each with the position of its first item."""
    start, size = 0, 0
    for place, item in enumerate(items):
        weight = len(repr(item))  # close to the length of its JSON, and quicker to find
        if place - start == _EDITS_MOST or (size + weight > _BYTES_MOST and place > start):
            yield start, list(items[start:place])
            start, size = place, 0
        size += weight
    if items:
        yield start, list(items[start:])
