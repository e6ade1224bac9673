"""No secret, prompt or customer's address is where it does not belong: the tests plant values and search for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import pytest

from retouch import Edit, EditFailed, EditQueue, InvalidEdit, JobOptions, Settings
from retouch.broker import make_app
from retouch.store.redis_client import connect
from retouch_ops.simulator.process import Simulator
from tests.process_watch import eventually

if TYPE_CHECKING:
    from tests.conftest import RunningWorker, Sink

KEY = "sk-planted-endpoint-key"
PROMPT, ADDRESS, HOOK, EXTRA = "planted-prompt", "planted-address", "planted-hook", "planted-extra"
CUSTOMERS = (PROMPT, ADDRESS, HOOK, EXTRA)


class Watch:
    """Context manager that records every command that Redis gets, and every event that the workers send."""

    def __init__(self, url: str) -> None:
        self.commands: list[str] = []
        self.events: list[str] = []
        self._redis: Any = connect(Settings.load(redis_url=url, redis_timeout_s=60, lease_s=90))  # silence is no fault
        self._app = make_app(Settings.load(redis_url=url))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._monitor), threading.Thread(target=self._capture)]

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        for thread in self._threads:
            thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._redis.ping()  # something for the monitor to see, so that it looks up
        for thread in self._threads:
            thread.join()
        self._redis.close()

    def _monitor(self) -> None:
        with self._redis.monitor() as monitor:
            self._ready.set()
            while not self._over.is_set():
                self.commands.append(monitor.next_command()["command"])

    def _capture(self) -> None:
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"*": self._keep})
            for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
                if self._over.is_set():
                    return

    def _keep(self, event: dict[str, Any]) -> None:
        self.events.append(json.dumps(event, default=str))


@pytest.fixture
def loud_worker(worker: Callable[..., RunningWorker]) -> RunningWorker:
    return worker("-E", "-l", "DEBUG", pix2pix_key=KEY, log_level="DEBUG")


@pytest.fixture
def watch(redis_url: str, client: Any) -> Iterator[Watch]:
    with Watch(redis_url) as watch:
        yield watch


def test_planted_values_stay_where_they_belong(
    loud_worker: RunningWorker, watch: Watch, queue: EditQueue, simulator: Simulator, sink: Sink, client: Any
) -> None:
    """
    Whether jobs succeed, fail or lose an answer, no value that the test planted is in the broker, Celery's events, the
    log, an exception or a `repr`.
    """
    simulator.faults(
        next=[
            {"kind": "bad_key", "tag": "refused"},
            {"kind": "html_502", "tag": "lost"},
            {"kind": "html_502", "tag": "end"},
        ]
    )
    sink.answers.extend([(500, {}), (302, {"Location": f"{sink.url}/{HOOK}"})])
    address = f"{simulator.portrait_url}?{ADDRESS}"
    jobs = {
        tag: queue.enqueue(
            Edit(prompt=f"{PROMPT} [[{tag}]]", init_image=address, extra={"note": EXTRA}),
            webhook=f"{sink.url}/{HOOK}",
            callback="billing.tasks.edited",
            max_charges=charges,
        )
        for tag, charges in {"fine": 2, "refused": 1, "lost": 2, "end": 1}.items()
    }
    for tag in ("fine", "lost"):
        assert jobs[tag].result(30).format == "PNG"
    shown = [repr(queue), str(queue.settings)]
    for tag in ("refused", "end"):
        with pytest.raises(EditFailed) as caught:
            jobs[tag].result(30)
        shown += [repr(caught.value), str(caught.value)]
    sink.wait_for(len(jobs))
    assert eventually(lambda: client.llen("billing") == len(jobs))
    assert eventually(lambda: len([event for event in watch.events if "task-succeeded" in event]) >= 2 * len(jobs))
    receiver = queue.receiver(f"{sink.url}/{HOOK}")
    secrets = (KEY, receiver.secret)
    shown += [repr(job) for job in jobs.values()] + [repr(job.deliveries()) for job in jobs.values()] + [repr(receiver)]

    events = "\n".join(watch.events)
    assert "task-received" in events
    sent = [command for command in watch.commands if "rt:broker:" in command or '"billing"' in command]
    messages = "\n".join(sent + client.lrange("billing", 0, -1))
    assert jobs["fine"].id in events
    assert jobs["fine"].id in messages
    assert jobs["fine"].id in loud_worker.log
    places = {"events": events, "broker": messages, "log": loud_worker.log, "shown": "\n".join(shown)}
    found = [(place, value) for place, text in places.items() for value in (*CUSTOMERS, *secrets) if value in text]
    assert found == []
    assert KEY not in "\n".join(watch.commands)
    client.delete("billing", "_kombu.binding.billing")


def test_refusals_do_not_repeat_the_request(queue: EditQueue, client: Any) -> None:
    """If a request is refused, the error contains neither prompt nor address, and Redis stores nothing."""
    for fields, options in (
        ({"init_image": f"http://10.0.0.1/{ADDRESS}"}, JobOptions()),
        ({"init_image": "https://a.example.com/in.png"}, JobOptions(webhook=f"http://10.0.0.1/{HOOK}")),
        ({"init_image": f"https://{ADDRESS}/in.png", "guidance_scale": 99}, JobOptions()),
    ):
        with pytest.raises(InvalidEdit) as caught:
            queue.enqueue(Edit(prompt=PROMPT, extra={"note": EXTRA}, **fields), **options)
        shown = f"{caught.value} {caught.value!r}"
        assert not [value for value in CUSTOMERS if value in shown]
    assert list(client.scan_iter("rt:*")) == []
