"""
Checks requests for edits and makes jobs from them, without any I/O.

The options are checked once for all edits that share them (`resolve_options`); then each edit is admitted (`admit`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from retouch.addresses import fault_of
from retouch.blobs import name_in
from retouch.edit import Edit, is_text
from retouch.errors import IdempotencyConflict, InvalidEdit, QueueFull
from retouch.ids import TENANT, new_job_id, receiver_id
from retouch.json_types import JsonObject
from retouch.options import DEFAULT_TENANT, JobOptions
from retouch.settings import Settings
from retouch.states import EVENTS
from retouch.store.jobs import PRIORITY_BOOST_S, EnqueueResult, NewJob
from retouch.store.records import JobSpec, PolicyChoices

DEADLINE_MOST_S = 30 * 86_400.0
_PLACE = re.compile(r"edits\[\d+\]\.?")
_TAGS_MOST, _TAG_MOST, _KEY_MOST = 20, 200, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    The options of a job: how it runs, and who gets its events. `None` stands for the default from the settings.

    `priority` is `high`, `normal` or `low`. A `high` job is treated as ten minutes older, and a `low` job as ten
    minutes younger. `deadline_s` is counted from the time of enqueueing. `webhook` is a URL, and `callback` is an
    allow-listed Celery task. Both get the final events and the events that `events` names. Every event contains the
    `tags`.
    """

    idempotency_key: str = field(default="", repr=False)
    priority: str = "normal"
    tenant: str = DEFAULT_TENANT
    deadline_s: float | None = None
    max_attempts: int | None = None
    max_charges: int | None = None
    webhook: str = field(default="", repr=False)
    callback: str = ""
    events: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResolvedOptions:
    """
    Options that were checked. All jobs with these options share `spec`, which has no edit yet.

    `networks` are the private networks in which addresses are allowed.
    """

    idempotency_key: str
    networks: tuple[str, ...]
    spec: JobSpec


def resolve_options(options: Options, settings: Settings, receiver: Callable[[str, str], str]) -> ResolvedOptions:
    """
    Check options, and return them with the defaults of the settings.

    `receiver(tenant, url)` must return the id of a receiver. Raises `InvalidEdit`, which names every fault.
    """
    if faults := _option_faults(options, settings):
        raise InvalidEdit(faults)
    spec = JobSpec(
        edit={},
        tenant=options.tenant,
        deadline_s=options.deadline_s or settings.deadline_s,
        policy=_policy(options),
        receivers=(receiver(options.tenant, options.webhook),) if options.webhook else (),
        events=tuple(options.events),
        callback=_callback(options.callback, settings) or "",
        priority=options.priority,
        tags=dict(options.tags),
    )
    return ResolvedOptions(options.idempotency_key, settings.dangerous_allow_private_networks, spec)


def _policy(options: Options) -> PolicyChoices:
    choices = PolicyChoices()
    if options.max_attempts is not None:
        choices["max_attempts"] = options.max_attempts
    if options.max_charges is not None:
        choices["max_charges"] = options.max_charges
    return choices


def admit(edit: Edit, terms: ResolvedOptions) -> NewJob:
    """
    Return the job for one edit; `terms` are options that were checked.

    Raises `InvalidEdit` if the edit's `init_image` is an address that the endpoint could not read.
    """
    if fault := fault_of(edit.init_image, terms.networks):
        raise InvalidEdit([("init_image", fault)])
    spec = replace(terms.spec, edit=edit.fields())
    text = spec.to_json()
    # Without a key, nothing is ever compared with the fingerprint, and hashing takes longer than all the rest.
    print_ = fingerprint(text) if terms.idempotency_key else "-"
    return NewJob(new_job_id(), text, spec.tenant, spec.priority, spec.deadline_s, terms.idempotency_key, print_)


class Admission:
    """
    Checks the edits of one call, makes their jobs, and collects the faults of all edits.

    `common` options apply to every edit; an edit's own options override them. `receivers` has the (tenant, URL) pair of
    each webhook in the options. The caller must create these receivers before it enqueues the jobs.
    """

    def __init__(self, common: JobOptions, settings: Settings) -> None:
        self.receivers: set[tuple[str, str]] = set()
        self._common, self._settings = common, settings
        self._resolved: ResolvedOptions | None = None
        self._jobs: list[NewJob] = []
        self._faults: list[tuple[int, str, str]] = []
        self._count = 0

    def take(self, edit: Edit, own: JobOptions) -> None:
        """Check one more edit and make its job, or record its faults."""
        # Edits without options of their own share one check of options, which takes longer than that of an edit.
        shared = None if own else self._shared()
        try:
            self._jobs.append(admit(edit, shared or self._resolve({**self._common, **own})))
        except InvalidEdit as error:
            self._faults += [(self._count, name, message) for name, message in error.faults]
        self._count += 1

    def jobs(self) -> list[NewJob]:
        """
        Return the jobs of all edits, in order. If any edit has a fault, raise `InvalidEdit`, which names all faults.

        If there are several edits, a fault names its field as `edits[3].prompt`.
        """
        if self._faults:
            many = self._count > 1
            raise InvalidEdit([(f"edits[{at}].{name}" if many else name, text) for at, name, text in self._faults])
        return self._jobs

    def _shared(self) -> ResolvedOptions:
        if self._resolved is None:
            self._resolved = self._resolve(self._common)
        return self._resolved

    def _resolve(self, options: JobOptions) -> ResolvedOptions:
        return resolve_options(options_of(options), self._settings, self._receiver)

    def _receiver(self, tenant: str, url: str) -> str:
        self.receivers.add((tenant, url))
        return receiver_id(tenant, url)


def options_of(values: JobOptions) -> Options:
    """Return the `Options` for keyword arguments; raise `TypeError` for an unknown name."""
    if unknown := sorted(values.keys() - set(Options.__dataclass_fields__)):
        raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(Options.__dataclass_fields__)}")
    # A caller may pass None for "no webhook"; `Options` has an empty text for that.
    absent = {name for name in ("webhook", "callback", "idempotency_key") if values.get(name) is None}
    given: JsonObject = {name: value for name, value in values.items() if name not in absent}
    return Options(**given)


def enqueue_error(results: Sequence[EnqueueResult]) -> Exception | None:
    """
    Return one error for all requests that were refused, or None if no request was refused.

    Of several errors, the first in this order is returned: `InvalidEdit`, `IdempotencyConflict`, `QueueFull`, any other
    error.
    """
    errors = [(place, result.error) for place, result in enumerate(results) if result.error]
    if not errors:
        return None
    if faults := [fault for place, error in errors for fault in _faults_of(error, place, len(results))]:
        return InvalidEdit(faults)
    if conflicts := [place for place, error in errors if isinstance(error, IdempotencyConflict)]:
        return IdempotencyConflict(
            f"{len(conflicts)} of {len(results)} requests repeat an idempotency key with another request (the first is "
            f"number {conflicts[0]}); those were not enqueued. Use a new key for a new request."
        )
    # The error has the reason and the time to wait of the first one.
    if full := [error for _, error in errors if isinstance(error, QueueFull)]:
        return QueueFull(full[0].tenant, full[0].reason, len(full), full[0].retry_after_s)
    return errors[0][1]


def _faults_of(error: Exception, place: int, count: int) -> list[tuple[str, str]]:
    """
    Return the faults of an `InvalidEdit` as (field, message). For any other error, return an empty list.

    `place` is the index of the edit among `count` edits. If `count` is above 1, the field has the form
    `edits[3].prompt`.
    """
    if not isinstance(error, InvalidEdit):
        return []
    prefix = f"edits[{place}]." if count > 1 else ""
    return [(prefix + _PLACE.sub("", name, count=1), message) for name, message in error.faults]


def fingerprint(spec_json: str) -> str:
    """Return a hash of a request as 32 hex digits. The order of the request's fields does not change the hash."""
    spec = json.loads(spec_json)
    # Each link to a blob is signed anew, so the name of the blob is compared and not the link.
    if name := name_in(spec.get("edit", {}).get("init_image", "")):
        spec["edit"]["init_image"] = name
    canonical = json.dumps(spec, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _callback(task: str, settings: Settings) -> str | None:
    """Return the allow-listed `task@queue` for a task's name, or None if the task is not on the list."""
    for allowed in settings.callback_tasks:
        if task in (allowed, allowed.partition("@")[0]):
            return allowed if "@" in allowed else f"{allowed}@celery"
    return None


def _option_faults(options: Options, settings: Settings) -> list[tuple[str, str]]:
    faults = []
    if options.priority not in PRIORITY_BOOST_S:
        faults.append(("priority", f"expected one of {', '.join(PRIORITY_BOOST_S)}, got {options.priority!r:.40}"))
    if not isinstance(options.tenant, str) or not TENANT.fullmatch(options.tenant):
        faults.append(("tenant", "expected 1 to 64 letters, digits, dots, dashes or underscores"))
    for name, most in (("deadline_s", DEADLINE_MOST_S), ("max_attempts", 100), ("max_charges", 10)):
        faults += _bound(name, getattr(options, name), most)
    if options.callback and not _callback(options.callback, settings):
        faults.append(("callback", f"task {options.callback!r:.80} is not on the allow-list RETOUCH_CALLBACK_TASKS"))
    if options.webhook and (fault := fault_of(options.webhook, settings.dangerous_allow_private_networks)):
        faults.append(("webhook", fault))
    if len(options.idempotency_key) > _KEY_MOST or not options.idempotency_key.isprintable():
        faults.append(("idempotency_key", f"expected at most {_KEY_MOST} printable characters"))
    if unknown := sorted(set(options.events) - EVENTS):
        faults.append(("events", f"expected some of {', '.join(sorted(EVENTS))}, got {unknown[0]!r:.40}"))
    return faults + _tag_faults(options.tags)


def _bound(name: str, value: object, most: float) -> list[tuple[str, str]]:
    """
    Return [] for None and for a number above 0 and at most `most`. For any other value, return [(name, message)].

    Only `deadline_s` may have a fraction.
    """
    if value is None:
        return []
    whole = name != "deadline_s"
    # True is an int in Python, but nobody means it as a number.
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and 0 < value <= most
    wanted = f"a whole number from 1 to {most:g}" if whole else f"seconds, more than 0 and at most {most:,.0f}"
    return [] if fits else [(name, f"expected {wanted}, got {value!r:.40}")]


def _tag_faults(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    if len(tags) > _TAGS_MOST:
        return [("tags", f"expected at most {_TAGS_MOST} tags, got {len(tags)}")]
    for name, value in tags.items():
        texts = isinstance(name, str) and isinstance(value, str) and is_text(name + value)
        if not texts or len(name) + len(value) > _TAG_MOST:
            return [("tags", f"expected names and values that are text, at most {_TAG_MOST} characters together")]
    return []
