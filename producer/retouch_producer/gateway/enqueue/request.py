"""Parses a request to enqueue: separates the fields of the edit from the options, and checks both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from retouch.admission import Options, ResolvedOptions, admit, resolve_options
from retouch.edit import Edit
from retouch.errors import InvalidEdit
from retouch.ids import receiver_id
from retouch.settings import Settings
from retouch.store.jobs import NewJob
from retouch.store.tenants import ApiKey
from retouch_producer.documents import Document

_EDIT = ("prompt", "init_image", "image_guidance_scale", "steps", "guidance_scale", "extra")
_OPTIONS: dict[str, tuple[type, str]] = {
    "priority": (str, "text"),
    "deadline_s": (float, "a number"),
    "max_attempts": (int, "a whole number"),
    "max_charges": (int, "a whole number"),
    "webhook": (str, "text"),
    "callback": (str, "text"),
    "events": (list, "a list of texts"),
    "tags": (dict, "an object"),
    "tenant": (str, "text"),
    "idempotency_key": (str, "text"),
}


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """
    A checked edit with its checked options.

    `options` are the options of the request. `terms` are the same options with the defaults of the settings. `new` is
    the job to enqueue if no picture is captured.
    """

    edit: Edit
    options: Options
    terms: ResolvedOptions
    new: NewJob

    @property
    def tenant(self) -> str:
        """The tenant that the job will belong to."""
        return self.options.tenant

    def with_input(self, link: str, blob: str, sha256: str) -> NewJob:
        """
        Return the job to enqueue with its captured picture.

        `link` is the URL that the endpoint gets, `blob` is the name of our copy, and `sha256` is the hash of the
        picture's bytes. The fingerprint of the job stays as it is. Jobs with the same picture bytes, edit, receivers,
        events and callback get the same share key, and count as duplicates.
        """
        fields, common = self.edit.fields(), self.terms.spec
        spec = replace(common, edit={**fields, "init_image": link}, input=blob)
        same = [{**fields, "init_image": sha256}, common.receivers, common.callback, common.events]
        share_key = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
        return self.new._replace(spec_json=spec.to_json(), share_key=share_key)


def read_request(body: Document, key: ApiKey, settings: Settings, idempotency_key: str = "") -> EnqueueRequest:
    """
    Return one edit with its options, parsed from a body; nothing is stored.

    `idempotency_key` is the value of the header, which overrides the value in the body. Raises `InvalidEdit`, which
    names every fault.
    """
    fields = {name: value for name, value in body.items() if value is not None}
    options = {name: value for name, value in fields.items() if name in _OPTIONS}
    faults = _type_faults(options) + _tenant_faults(options, key)
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    edit, edit_faults = _edit({name: value for name, value in fields.items() if name not in _OPTIONS})
    if edit is None or faults:
        raise InvalidEdit(faults + edit_faults)
    typed_options = Options(**{"tenant": key.tenant, **options})
    terms = resolve_options(typed_options, settings, receiver_id)
    return EnqueueRequest(edit, typed_options, terms, admit(edit, terms))


def _edit(values: Document) -> tuple[Edit | None, list[tuple[str, str]]]:
    unknown = [name for name in values if name not in _EDIT]
    faults = [(name[:80], "is neither a field of an edit nor an option; see /docs") for name in unknown]
    try:
        edit = Edit(**{name: value for name, value in values.items() if name in _EDIT})
    except InvalidEdit as error:
        return None, faults + error.faults
    return (None if faults else edit), faults


def _type_faults(options: Document) -> list[tuple[str, str]]:
    faults = []
    for name, value in options.items():
        kind, expected = _OPTIONS[name]
        # A bool is an int to Python, and never a number in JSON.
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        fits = numbers if kind is float else isinstance(value, kind) and not isinstance(value, bool)
        if fits and kind is list:
            fits = all(isinstance(item, str) for item in value)
        if not fits:
            faults.append((name, f"expected {expected}, got {type(value).__name__}"))
    return faults


def _tenant_faults(options: Document, key: ApiKey) -> list[tuple[str, str]]:
    if key.role == "ops" or options.get("tenant", key.tenant) == key.tenant:
        return []
    return [("tenant", "expected the key's own tenant or none; only a key of role ops may name another")]
