"""
One worker process: the tools that its attempts share, and its life: start, drain, stop.

Stopping: on SIGTERM the process stops claiming and rescuing. A message that still reaches it is sent again for another
worker. Calls in flight end within their own deadline (`pix2pix_timeout_s`), then the process exits. Outcomes that Redis
has not accepted five seconds later are given up, and the log names each item.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Collection
from functools import cached_property
from typing import Any

import redis

from retouch.blobs import BlobStore, open_blobs
from retouch.policy import RetryPolicy
from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.links import LinkSigner
from retouch.store.receivers import ReceiverStore
from retouch.store.redis_client import connect
from retouch.store.redis_commands import Client
from retouch.store.redis_retry import RedisRetry, trouble
from retouch_worker.deliveries.attempt import DeliveryTools
from retouch_worker.deliveries.sender import Sender
from retouch_worker.edit_queues import EditQueues
from retouch_worker.edits.context import EditTools
from retouch_worker.edits.credentials import Credentials
from retouch_worker.edits.endpoint import Endpoints
from retouch_worker.logs import log
from retouch_worker.pulse import Pulse
from retouch_worker.retention import Retention

_FILES_PER_CONNECTION, _OTHER_FILES = 6, 256
_STORE_RETRY_S = 1.0
_STORING_S = 5.0  # to store the outcome of the last call; the supervisor kills after 10
_HAND_BACK_PAUSE_S = 0.2  # until this process stops consuming, it may get the message back that it sends again


class WorkerProcess:
    """The parts of one process. Each is made when first used, so importing the worker opens no connection."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections = 400
        self.threads_for_deliveries = 0
        self._queues: EditQueues | None = None
        self._draining = False
        self._redis_retry = RedisRetry()

    @cached_property
    def publisher(self) -> Publisher:
        """Sends a Celery message for each item that was dispatched."""
        return Publisher(self.settings, _log_lost_messages)

    @cached_property
    def credentials(self) -> Credentials:
        """The accounts and their keys; only for a process that takes edits."""
        return Credentials(self.settings)

    @cached_property
    def pulse(self) -> Pulse:
        """Renews leases, rescues, and runs retention."""
        # A client of its own, without the long retries of the attempts: waiting for one would delay the next renewal.
        client = connect(self.settings)
        lanes = Lanes(client)
        retention = Retention(client, self._blobs, self.settings.retention_s)
        return Pulse(lanes, self.publisher, self.settings, retention.sweep, self.threads_for_deliveries, self._look)

    @cached_property
    def edit_tools(self) -> EditTools:
        """The tools that edit attempts share."""
        settings = self.settings
        return EditTools(
            jobs=JobStore(self._client, retention_s=settings.retention_s, durable_intents=settings.durable_intents),
            endpoints=Endpoints(settings, self.credentials, connections=self.connections),
            blobs=self._blobs,
            publisher=self.publisher,
            pulse=self.pulse,
            settings=settings,
            policy=RetryPolicy(
                settings.max_attempts, settings.backoff_base_s, settings.backoff_cap_s, settings.max_charges
            ),
        )

    @cached_property
    def delivery_tools(self) -> DeliveryTools:
        """The tools that delivery attempts share."""
        settings = self.settings
        return DeliveryTools(
            deliveries=DeliveryStore(self._client),
            jobs=JobStore(self._client, retention_s=settings.retention_s),
            receivers=ReceiverStore(self._client),
            sender=Sender(settings, connections=self.connections),
            blobs=self._blobs,
            publisher=self.publisher,
            pulse=self.pulse,
            settings=settings,
        )

    @cached_property
    def _client(self) -> Client:
        return connect(self.settings, patience=self._redis_retry)

    @cached_property
    def _blobs(self) -> BlobStore:
        return open_blobs(self.settings.store, self.settings.public_url, LinkSigner(self._client))

    def start(self, *, edits: bool = True) -> None:
        """Wait for Redis, configure the lanes and start the pulse; `edits`: this process works on the lane of edits."""
        _allow_open_files(_FILES_PER_CONNECTION * self.connections + _OTHER_FILES)
        if edits:
            self._report_missing_keys()
        if self._open_gates():
            self.pulse.start()
            log.info("worker_started", in_flight_limit=self.settings.in_flight_limit, lease_s=self.settings.lease_s)

    def take_edits(self, worker: Any) -> None:
        """
        Have a Celery worker consume the queues of the accounts whose key is here, from now on as these change.

        Raises `SettingsError` where the accounts file is wrong or no key of it is here.
        """
        self.credentials.require_one()
        self._queues = EditQueues(worker, lambda: self.credentials.now.queues)
        self._queues.select()

    def ask_reload(self) -> None:
        """Have the accounts and keys read anew within a second. Safe in a signal handler."""
        if self._queues:
            self.credentials.ask_reload()

    def _look(self) -> None:
        if self._queues:
            self.credentials.reload_if_changed()
            self._queues.follow()

    def _report_missing_keys(self) -> None:
        lacking = self.credentials.now.lacking
        if lacking:
            log.warning("accounts_not_served", accounts=list(lacking), reasons=list(lacking.values()))
        if not self.settings.accounts and not self.settings.pix2pix_key.get_secret_value():
            log.warning("no_endpoint_key", what="RETOUCH_PIX2PIX_KEY is empty; the endpoint will refuse every edit")

    def _open_gates(self) -> bool:
        """Configure the lanes; wait for Redis, with a log line for each try. Return False if the process is stopped."""
        lanes = Lanes(connect(self.settings))
        while not self._draining:
            try:
                lanes.open(self.settings.in_flight_limit, self.settings.rate_per_s)
                return True
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, reason=trouble(error), leases=0)
                time.sleep(_STORE_RETRY_S)
        return False

    def drain(self) -> None:
        """Take no more work: messages that still come are sent again, attempts in flight go on to their end."""
        self._draining = True
        self.pulse.drain()
        self._redis_retry.end_within(self.settings.pix2pix_timeout_s + _STORING_S)
        log.info("worker_draining", in_flight=self.pulse.held, at_most_s=self.settings.pix2pix_timeout_s)

    def requeue_if_draining(self, lane: str, item: str) -> bool:
        """If this process is stopping, send the message to its queue again for another worker and return True."""
        if self._draining:
            time.sleep(_HAND_BACK_PAUSE_S)
            self.publisher.publish([(lane, item)])
        return self._draining


def threads_for_deliveries(threads: int, lanes: Collection[str]) -> int:
    """Return how many of a process' threads serve deliveries: none, all, or half if it also works on edits."""
    if "deliveries" not in lanes:
        return 0
    return threads if len(lanes) == 1 else max(1, threads // 2)


def _log_lost_messages(messages: int, error: BaseException) -> None:
    log.warning("broker_away", messages=messages, error=type(error).__name__)


def _allow_open_files(wanted: int) -> None:
    """Raise the soft limit of open files: a call in flight holds two sockets and a file, pooled connections more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
