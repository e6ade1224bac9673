"""Bulk runs over HTTP, in Python and on the command line, also while workers are killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from retouch import Edit, EditQueue, InvalidQuery, UnknownJob
from tests.command_line import typed
from tests.conftest import RunningWorker
from tests.gateway_process import Callers, problem
from tests.process_watch import eventually

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")


def test_kill_9_of_the_worker(queue: EditQueue, client: Any, worker: Callable[..., RunningWorker]) -> None:
    """
    While a run cancels 4,000 jobs, three workers are killed. At the end of the run, each job was cancelled and counted
    once.
    """
    queue.pause()
    jobs = queue.enqueue_many([EDIT] * 4_000)
    run = queue.bulk("cancel", "state:queued since:1h")
    assert (run.state, run.preview.jobs) == ("queued", 4_000)
    for at_least in (1, 800, 1_600):
        running = worker()
        assert eventually(partial(has_acted_on, queue, run.id, at_least), within_s=40.0)
        running.kill()
        assert not queue.bulk_run(run.id).is_over
        client.zadd("rt:bulk:open", {run.id: 1.0}, xx=True)  # as when the killed worker's lease is over
    worker()
    assert eventually(lambda: queue.bulk_run(run.id).is_over, within_s=40.0)
    ended = queue.bulk_run(run.id)
    assert (ended.state, ended.outcomes) == ("done", {"cancelled": 4_000})
    assert [len(list(job.events())) for job in jobs[::500]] == [2] * 8
    queue.resume()


def has_acted_on(queue: EditQueue, run: str, at_least: int) -> bool:
    return queue.bulk_run(run).acted_on >= at_least


def test_bulk_over_http(
    callers: Callers, edit_body: Callable[..., Any], module_worker: RunningWorker, client: Any
) -> None:
    """
    A dry run changes nothing. A tenant starts, sees and lists its own runs. The run of another tenant is answered 404.
    """
    api, stranger, ops = callers(), callers("globex"), callers("staff", "ops")
    ops.post("/v1/pause")
    jobs = [api.post("/v1/edits", edit_body(tags={"n": str(at)})).json()["id"] for at in range(3)]
    asked = {"action": "cancel", "query": "state:queued tag:n=0,1"}
    preview = api.post("/v1/bulk", {**asked, "dry_run": True})
    assert (preview.status_code, preview.json()["preview"]["jobs"]) == (200, 2)
    assert api.post("/v1/bulk?dry_run=1", asked).json()["query"] == "tenant:acme state:queued tag:n=0,n=1"
    assert stranger.post("/v1/bulk", {**asked, "dry_run": True}).json()["preview"]["jobs"] == 0
    answer = api.post("/v1/bulk", asked, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert answer.headers["location"] == run["links"]["self"] == f"/v1/bulk/{run['id']}"
    assert eventually(lambda: api.get(f"/v1/bulk/{run['id']}").json()["state"] == "done", within_s=30.0)
    assert api.get(f"/v1/bulk/{run['id']}").json()["outcomes"] == {"cancelled": 2}
    assert api.post("/v1/bulk", asked, headers={"Idempotency-Key": "k1"}).json()["id"] == run["id"]
    problem(api.post("/v1/bulk", {**asked, "query": "since:1h", "idempotency_key": "k1"}), "idempotency-conflict", 422)
    assert [api.get(f"/v1/edits/{job}").json()["state"] for job in jobs] == ["cancelled", "cancelled", "queued"]
    assert [one["id"] for one in ops.get("/v1/bulk").json()["data"]] == [run["id"]]
    assert stranger.get("/v1/bulk").json()["data"] == []
    problem(stranger.get(f"/v1/bulk/{run['id']}"), "not-found", 404)
    problem(stranger.post(f"/v1/bulk/{run['id']}/abort"), "not-found", 404)
    assert api.post(f"/v1/bulk/{run['id']}/abort").json()["outcome"] == "final"
    for body, field in (
        ({}, "action"),
        ({**asked, "query": ""}, "query"),
        ({**asked, "query": "stat:x"}, "q"),
        ({**asked, "priority": "high"}, "priority"),
        ({**asked, "more": 1}, "more"),
    ):
        wrong = problem(api.post("/v1/bulk", body), "invalid-request", 422)
        assert wrong["faults"][0]["field"] == field
    problem(api.post("/v1/bulk", {**asked, "query": "tenant:globex"}), "not-found", 404)
    ops.post("/v1/resume")


def test_bulk_in_python_and_on_the_command_line(queue: EditQueue, module_worker: RunningWorker) -> None:
    """
    In Python and on the command line, runs are previewed, started, followed, listed and aborted. Options that exclude
    each other are refused.
    """
    queue.pause()
    jobs = queue.enqueue_many([EDIT] * 3, tags={"n": "1"})
    assert queue.bulk_preview("cancel", "tag:n=1").jobs == 3
    dry = typed("cancel", "--query", "tag:n=1", "--dry-run")
    assert dry.out == "cancel would act on 3 jobs; nothing was changed\n"
    ended = typed("cancel", "--query", "tag:n=1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].endswith("done: 3 cancelled")
    run = ended.out.split()[0]
    assert json.loads(typed("bulk", "show", run, "--json").out)["outcomes"] == {"cancelled": 3}
    assert "3 cancelled" in typed("bulk", "show", run).out
    assert run in typed("bulk", "list").out
    assert typed("bulk", "abort", run).code == 1
    assert typed("bulk", "show", "bk_nowhere").code == 2
    preview = json.loads(typed("replay", "--query", "tag:n=1", "--dry-run", "--json").out)
    assert (preview["jobs"], preview["resume_free"], preview["calls_most"]) == (3, 0, 6)
    started = typed("replay", "--query", "tag:n=1", "--no-wait", "--json")
    assert eventually(lambda: queue.bulk_run(started.json["id"]).is_over, within_s=30.0)
    assert {job.state for job in jobs} == {"queued"}
    assert typed("priority", "high", "--query", "tag:n=1").out.splitlines()[-1].endswith("done: 3 changed")
    assert jobs[0].record().spec.priority == "high"
    assert typed("redeliver", "--query", "tag:n=1").out.splitlines()[-1].endswith("done: nothing to do")
    for wrong in (
        ["cancel"],
        ["cancel", jobs[0].id, "--query", "since:1h"],
        ["cancel", jobs[0].id, "--dry-run"],
        ["cancel", "--query", ""],
        ["cancel", "--query", "stat:x"],
        ["replay", "--failed", "--query", "since:1h"],
        ["redeliver", "--receiver", "rc_1", "--query", "since:1h"],
    ):
        assert typed(*wrong).code == 2, wrong
    with pytest.raises(UnknownJob):
        queue.bulk_run("bk_nowhere")
    with pytest.raises(InvalidQuery):
        queue.bulk("cancel", "stat:x")
    for job in jobs:
        job.cancel()
    queue.resume()
