"""A proxy cuts the streams of clients that watch a job: no event is lost, and no event comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from retouch.store.tenants import TenantStore
from tests.browser.watched_gateway import MODULE, holdings
from tests.chaos.proxy import Proxy
from tests.chaos.stack import a_stage, environment_of
from tests.gateway_process import running_gateway
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
Message = tuple[int, str]


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Yield the messages of a stream as (id, event), until it ends or is cut."""
    identity = 0
    with suppress(httpx.TransportError):
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "id":
                identity = int(value)
            elif name == "event":
                yield identity, value


def test_a_stream_of_events_that_is_cut_resumes(tmp_path: Path) -> None:
    """A stream that is cut after each event and resumed by `Last-Event-ID` has the same events as an uncut stream."""
    with a_stage(tmp_path, latency_s=0.3, max_attempts=6) as stage:
        secret = TenantStore(store_access(stage.queue).client).create_key("default")[1]
        headers = {"Authorization": f"Bearer {secret}"}
        stage.simulator.faults(next=[{"kind": "error_503", "times": 4}])
        stage.worker(4)
        with running_gateway(environment_of(stage.settings)) as (url, _), Proxy(int(url.rpartition(":")[2])) as proxy:
            (job,) = stage.enqueue(1)
            path, seen, cuts = f"/v1/edits/{job}/events", list[Message](), 0
            while not seen or seen[-1][1] != "edit.succeeded":
                last = {"Last-Event-ID": str(seen[-1][0])} if seen else {}
                address = f"http://127.0.0.1:{proxy.port}{path}"
                with httpx.stream("GET", address, headers={**headers, **last}, trust_env=False, timeout=60) as answer:
                    coming = messages(answer.iter_lines())
                    seen.append(next(coming))
                    proxy.cut()
                    seen += coming  # what had come through before
                proxy.heal()
                cuts += 1
            whole = httpx.get(url + path, headers=headers, trust_env=False)
            assert seen == list(messages(whole.iter_lines()))
            assert [identity for identity, _ in seen] == list(range(len(seen)))
            assert len(seen) >= 5
            assert cuts > 1


def test_streams_that_are_cut_leave_nothing(tmp_path: Path) -> None:
    """When the stream of a waiting job is cut, the gateway drops the watcher of the stream."""
    with a_stage(tmp_path, latency_s=0.3) as stage:
        secret = TenantStore(store_access(stage.queue).client).create_key("default")[1]
        (job,) = stage.enqueue(1)
        headers = {"Authorization": f"Bearer {secret}"}
        environment = environment_of(stage.settings)
        with running_gateway(environment, MODULE) as (url, gateway), Proxy(int(url.rpartition(":")[2])) as proxy:
            address = f"http://127.0.0.1:{proxy.port}/v1/edits/{job}/events"
            for _ in range(3):
                with httpx.stream("GET", address, headers=headers, trust_env=False, timeout=60) as answer:
                    coming = messages(answer.iter_lines())
                    assert next(coming)
                    assert holdings(gateway).watchers > 0
                    proxy.cut()
                    assert list(coming) == []
                proxy.heal()
            assert eventually(lambda: holdings(gateway).watchers == 0)
