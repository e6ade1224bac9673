"""
One worker process: the dependencies that its attempts share, and how it starts, drains and stops.

Stopping: on SIGTERM the process stops claiming and rescuing. A message that still reaches it is sent again for another
worker. Calls in flight end within their own deadline (`pix2pix_timeout_s`). Then Redis has five more seconds to accept
their outcomes. An outcome that it does not accept is given up, and the log names the item. Then the process exits.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import cached_property
from typing import Any

import redis

from retouch.accounts import Account, accounts_of
from retouch.blobs import BlobStore, open_blobs
from retouch.open_files import allow_open_files
from retouch.policy import RetryPolicy
from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.accounts import AccountStore
from retouch.store.audit import AuditLog
from retouch.store.bulk import BulkStore
from retouch.store.bulk_chunks import BulkChunks
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.links import LinkSigner
from retouch.store.receivers import ReceiverStore
from retouch.store.redis_client import connect
from retouch.store.redis_commands import Client
from retouch.store.redis_retry import RedisRetry, trouble
from retouch.store.scripts import compose_all
from retouch.tracing import open_tracing
from retouch_worker.bulk import BulkRunner
from retouch_worker.deliveries.attempt import DeliveryDependencies
from retouch_worker.deliveries.sender import Sender
from retouch_worker.edit_queues import EditQueues
from retouch_worker.edits.context import EditDependencies
from retouch_worker.edits.credentials import Credentials
from retouch_worker.edits.endpoint import Endpoints
from retouch_worker.logs import log
from retouch_worker.pulse import Pulse
from retouch_worker.retention import Retention

_FILES_PER_CONNECTION, _OTHER_FILES = 6, 256
_STORE_RETRY_S = 1.0
_STORING_S = 5.0  # for storing the outcome of the last call; the supervisor kills the process after 10 s
_HAND_BACK_PAUSE_S = 0.2  # before requeueing: until it stops consuming, this process may get the message again


class WorkerProcess:
    """The parts of one process. Each is made when it is first used, so importing the worker opens no connection."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections = 400
        self.threads_for_deliveries = 0
        self.lanes: tuple[str, ...] = ()
        self._queues: EditQueues | None = None
        self._opened: tuple[tuple[Account, ...], tuple[str, ...]] | None = None
        self._draining = False
        self._redis_retry = RedisRetry()
        self.tracing = open_tracing(settings, "retouch-worker")

    @cached_property
    def publisher(self) -> Publisher:
        """The publisher, which sends a Celery message for each item that was dispatched."""
        return Publisher(self.settings, _log_lost_messages)

    @cached_property
    def credentials(self) -> Credentials:
        """
        The accounts and their keys. The first use reads the keys, so only a process that works on edits may use this.
        """
        return Credentials(self.settings)

    @cached_property
    def pulse(self) -> Pulse:
        """The threads that renew leases, take part in rescue, run retention and follow changed accounts."""
        # A client of its own, without the long retries of the attempts, which would delay the next renewal.
        client = connect(self.settings)
        lanes = Lanes(client)
        retention = Retention(client, self._blobs, self.settings.retention_s)
        return Pulse(
            lanes,
            self.publisher,
            self.settings,
            retention.sweep,
            self.threads_for_deliveries,
            self.lanes,
            self._look,
            lambda: self._served,
        )

    @cached_property
    def bulk_runner(self) -> BulkRunner:
        """The thread that carries out bulk runs. It has connections of its own, so that it delays no attempt."""
        client = connect(self.settings)
        jobs = JobStore(client, retention_s=self.settings.retention_s)
        chunks = BulkChunks(jobs, self.settings.max_charges)
        return BulkRunner(BulkStore(client), chunks, self.publisher, self.settings.retention_s)

    @cached_property
    def edit_dependencies(self) -> EditDependencies:
        """The dependencies that edit attempts use."""
        settings = self.settings
        return EditDependencies(
            jobs=JobStore(self._client, retention_s=settings.retention_s, durable_intents=settings.durable_intents),
            audit=AuditLog(self._client),
            endpoints=Endpoints(settings, self.credentials, connections=self.connections, tracing=self.tracing),
            blobs=self._blobs,
            publisher=self.publisher,
            pulse=self.pulse,
            settings=settings,
            policy=RetryPolicy(
                settings.max_attempts, settings.backoff_base_s, settings.backoff_cap_s, settings.max_charges
            ),
            tracing=self.tracing,
        )

    @cached_property
    def delivery_dependencies(self) -> DeliveryDependencies:
        """The dependencies that delivery attempts use."""
        settings = self.settings
        return DeliveryDependencies(
            deliveries=DeliveryStore(self._client),
            jobs=JobStore(self._client, retention_s=settings.retention_s),
            receivers=ReceiverStore(self._client),
            sender=Sender(settings, connections=self.connections, tracing=self.tracing),
            blobs=self._blobs,
            publisher=self.publisher,
            pulse=self.pulse,
            settings=settings,
            tracing=self.tracing,
        )

    @cached_property
    def _client(self) -> Client:
        return connect(self.settings, patience=self._redis_retry)

    @cached_property
    def _gate_client(self) -> Client:
        return connect(self.settings)

    @cached_property
    def _blobs(self) -> BlobStore:
        return open_blobs(self.settings.store, self.settings.public_url, LinkSigner(self._client))

    def start(self, *, edits: bool = True) -> None:
        """
        Wait for Redis, configure the lanes and start the pulse.

        `edits` says whether this process works on lane `edits` and therefore needs keys of the endpoint.
        """
        compose_all()
        allow_open_files(_FILES_PER_CONNECTION * self.connections + _OTHER_FILES)
        if edits:
            self._report_missing_keys()
        if self._open_gates():
            self.pulse.start()
            self.bulk_runner.start()
            limits = {account.id: account.limit for account in self._accounts}
            limit = limits if self.settings.accounts else self.settings.in_flight_limit
            log.info("worker_started", in_flight_limit=limit, lease_s=self.settings.lease_s)

    @property
    def _accounts(self) -> tuple[Account, ...]:
        """The accounts whose gates this process sets."""
        return self.credentials.now.accounts if self._queues else tuple(accounts_of(self.settings))

    @property
    def _served(self) -> tuple[str, ...]:
        return self.credentials.now.served if self._queues else ()

    def _follow_accounts(self) -> None:
        """
        If the accounts or the served accounts have changed, set the gates, and record the served accounts in Redis.
        """
        if self.settings.accounts and not self._queues:
            self._gate_client.ping()  # only workers that take edits know the accounts, and the gates with them
            return
        wanted, served = self._accounts, self._served
        if (wanted, served) != self._opened:
            lanes = Lanes(self._gate_client)
            lanes.open(wanted)
            lanes.heartbeat(self.settings.lease_s, [], accounts=served)
            self._opened = wanted, served

    def _reload(self) -> None:
        before = self.credentials.now.keys
        if self.credentials.reload_if_changed():
            accounts, keys = AccountStore(self._gate_client), self.credentials.now.keys
            for name in accounts.ids():
                if name in keys and keys[name] != before.get(name):
                    accounts.test(name)  # what closed it may have been the former key

    def take_edits(self, worker: Any) -> None:
        """
        Make a Celery worker consume the queues of the accounts whose keys this process holds. It follows later changes.

        Raises `SettingsError` if the accounts file is wrong, or if no key of the accounts file can be read.
        """
        self.credentials.require_one()
        self._queues = EditQueues(worker, lambda: self.credentials.now.queues)
        self._queues.select()

    def ask_reload(self) -> None:
        """Make the pulse reload the accounts and keys within a second. A signal handler may call this."""
        if self._queues:
            self.credentials.ask_reload()

    def _look(self) -> None:
        if self._queues:
            self._reload()
            self._queues.follow()
            self._follow_accounts()

    def _report_missing_keys(self) -> None:
        lacking = self.credentials.now.lacking
        if lacking:
            log.warning("accounts_not_served", accounts=list(lacking), reasons=list(lacking.values()))
        if not self.settings.accounts and not self.settings.pix2pix_key.get_secret_value():
            log.warning("no_endpoint_key", what="RETOUCH_PIX2PIX_KEY is empty; the endpoint will refuse every edit")

    def _open_gates(self) -> bool:
        """
        Configure the lanes and return True. While Redis does not answer, try again every second.

        Return False if the process begins to stop before the lanes are configured.
        """
        while not self._draining:
            try:
                self._follow_accounts()
                return True
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, reason=trouble(error), leases=0)
                time.sleep(_STORE_RETRY_S)
        return False

    def drain(self) -> None:
        """Accept no more work: messages that still arrive are sent again, and attempts in flight go on to their end."""
        self._draining = True
        self.pulse.drain()
        self.bulk_runner.stop()
        self._redis_retry.end_within(self.settings.pix2pix_timeout_s + _STORING_S)
        log.info("worker_draining", in_flight=self.pulse.held, at_most_s=self.settings.pix2pix_timeout_s)

    def requeue_if_draining(self, lane: str, item: str) -> bool:
        """
        If this process is draining, send the item's message to its queue again, for another worker. Return whether it
        is draining.
        """
        if self._draining:
            time.sleep(_HAND_BACK_PAUSE_S)
            self.publisher.publish([(lane, item)])
        return self._draining


def threads_for_deliveries(threads: int, lanes: Collection[str]) -> int:
    """Return how many threads of a process serve deliveries: none, all, or half if the process also works on edits."""
    if "deliveries" not in lanes:
        return 0
    return threads if len(lanes) == 1 else max(1, threads // 2)


def _log_lost_messages(messages: int, error: BaseException) -> None:
    log.warning("broker_away", messages=messages, error=type(error).__name__)
