"""Implements the commands of `retouch receivers`: changes receivers, and prints them."""

from __future__ import annotations

import json
import time
from itertools import islice

from retouch.batches import batched
from retouch.errors import InvalidEdit
from retouch.store.failing_receivers import FailingReceiver, failures_of
from retouch.store.receiver_health import Outcome, receiver_health
from retouch.store.receivers import Receiver
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.edit_request import options_of, terms_of
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.lanes.run import failure_text
from retouch_producer.cli.render import ago, print_table
from retouch_producer.documents import Document, failure_document, health_document, receiver_document
from retouch_producer.findings.receiver_health import health_text

_BATCH, _SIGNS_A_LINE = 500, 100
_SIGNS: dict[Outcome, str] = {"delivered": ".", "retried": "r", "waiting": "w", "dead": "X"}


def add(url: str, tenant: str, events: list[str], *, as_json: bool) -> None:
    """
    Add a receiver that gets the events of all jobs of a tenant. Print it with its secret.

    The URL is checked like the webhook of a job. An empty `events` stands for the events that end a job.
    """
    with open_context() as context:
        try:
            terms_of(options_of(tenant=tenant, webhook=url, events=events), context.settings)
        except InvalidEdit as error:
            renamed = {"webhook": "URL", "events": "--event", "tenant": "--tenant"}
            raise UsageError("; ".join(f"{renamed[name]}: {message}" for name, message in error.faults)) from None
        receiver = context.connections.receivers.add(tenant, url, events)
        context.note_change("receiver.add", tenant, ids=[receiver.id])
        _print_receiver(receiver, as_json=as_json, show_secret=True)


def list_receivers(tenant: str, limit: int, *, show_secret: bool, as_json: bool) -> None:
    """Print up to `limit` receivers of a tenant, or of all tenants if `tenant` is empty. Secrets need `show_secret`."""
    failing = dict[str, FailingReceiver]()
    with open_context() as context:
        found = list(islice(context.connections.receivers.all(tenant), limit))
        for some in batched(found, _BATCH):
            failing |= failures_of(context.connections.client, [one.id for one in some])
    if as_json:
        print(json.dumps([_document(one, failing.get(one.id), show_secret) for one in found], indent=2))
        return
    head = ("ID", "TENANT", "STATE", "HEARS OF", "URL", "FAILING", *(["SECRET"] if show_secret else []))
    print_table(head, [_row(one, failing.get(one.id), show_secret) for one in found], "no receiver")


def show(identity: str, *, as_json: bool) -> None:
    """Print a receiver, its failures, and its health: a sentence, and one character for each of its deliveries."""
    with open_context() as context:
        receiver = _known(context, identity)
        failing = failures_of(context.connections.client, [receiver.id]).get(receiver.id)
        health = receiver_health(context.connections.deliveries, receiver)
    if as_json:
        print(json.dumps({**_document(receiver, failing, False), "health": health_document(health)}, indent=2))
        return
    _, tenant, state, hears, url, trouble = _row(receiver, failing, False)
    lines = {"tenant": tenant, "state": state, "hears of": hears, "url": url, "failing": trouble}
    print(receiver.id, *(f"{name:<8}  {value}" for name, value in lines.items()), health_text(health), sep="\n")
    if health.points:
        print("oldest to newest (. delivered, r after failed attempts, w waiting, X dead):")
        for line in batched(health.points, _SIGNS_A_LINE):
            print("".join(_SIGNS[point.outcome] for point in line))


def _document(receiver: Receiver, failing: FailingReceiver | None, show_secret: bool) -> Document:
    described = receiver_document(receiver, show_secret=show_secret)
    return {**described, "failing": failure_document(failing) if failing else None}


def _row(receiver: Receiver, failing: FailingReceiver | None, show_secret: bool) -> tuple[object, ...]:
    jobs = "every job" if receiver.every_job else "jobs that name it"
    hears = f"{jobs}: {', '.join(receiver.events)}" if receiver.events else jobs
    state = "disabled" if receiver.disabled else "enabled"
    secret = (receiver.secret,) if show_secret else ()
    trouble = failure_text(failing) if failing else "no"
    return receiver.id, receiver.tenant, state, hears, receiver.url, trouble, *secret


def rotate(identity: str, *, as_json: bool) -> None:
    """
    Make a new secret for a receiver, and print the receiver with this secret. Raises `UsageError` for an unknown id.
    """
    with open_context() as context:
        receiver = context.connections.receivers.rotate(_known(context, identity).id)
        assert receiver is not None
        context.note_change("receiver.rotate", receiver.tenant, ids=[receiver.id])
        _print_receiver(receiver, as_json=as_json, show_secret=True)


def set_disabled(identity: str, disabled: bool, *, as_json: bool) -> None:
    """
    Disable a receiver, or enable it if `disabled` is false. Print the receiver. Raises `UsageError` for an unknown id.
    """
    with open_context() as context:
        receiver = context.connections.receivers.set_disabled(_known(context, identity).id, disabled)
        assert receiver is not None
        context.note_change("receiver.disable" if disabled else "receiver.enable", receiver.tenant, ids=[receiver.id])
        _print_receiver(receiver, as_json=as_json, show_secret=False)


def remove(identity: str, *, as_json: bool) -> None:
    """Remove a receiver, and print it."""
    with open_context() as context:
        receiver = _known(context, identity)
        context.connections.receivers.remove(receiver.id)
        context.note_change("receiver.remove", receiver.tenant, ids=[receiver.id])
    document = {**receiver_document(receiver, show_secret=False), "removed": True}
    print(json.dumps(document, indent=2) if as_json else f"{receiver.id}  removed; what waits for it ends as dead")


def send_test(identity: str, *, as_json: bool) -> int:
    """Send a signed test event and print the receiver's answer. Return exit code 0 if the answer is 2xx, else 1."""
    from retouch_producer.webhook_tests import send_test_event

    with open_context() as context:
        receiver = _known(context, identity)
        networks = context.settings.dangerous_allow_private_networks
    report = send_test_event(receiver, networks)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        answer_text = "accepted" if report["accepted"] else "not accepted"
        print(f"{receiver.id}  {answer_text}: {report['status'] or report['trouble']} in {report['latency_s']:g} s")
        print(report["answer"][:1_000] or "(no body)")
    return 0 if report["accepted"] else 1


def _known(context: CommandContext, identity: str) -> Receiver:
    receiver = context.connections.receivers.get(identity)
    if receiver is None:
        raise UsageError(f"{identity[:60]!r} is no receiver; `retouch receivers list` names them")
    return receiver


def _print_receiver(receiver: Receiver, *, as_json: bool, show_secret: bool) -> None:
    if as_json:
        print(json.dumps(receiver_document(receiver, show_secret=show_secret), indent=2))
        return
    print(f"{receiver.id}  {'disabled' if receiver.disabled else 'enabled'}")
    if show_secret:
        print(f"secret  {receiver.secret}")
    if receiver.old_secret and receiver.old_until > time.time():
        print(f"the old secret signs too, for another {ago(receiver.old_until).removeprefix('in ')}")
