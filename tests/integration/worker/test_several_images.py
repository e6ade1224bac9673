"""Tests of an answer with several images, from the enqueueing of the job to the webhook."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retouch import Edit, EditQueue
from retouch_ops.simulator.process import Simulator

if TYPE_CHECKING:
    from tests.conftest import Sink

PATIENCE_S = 30.0
pytestmark = pytest.mark.usefixtures("module_worker")


@pytest.fixture
def edit(simulator: Simulator) -> Any:
    """Return a function that makes an edit; the simulator finds the tag in the prompt, and counts calls under it."""

    def make(tag: str, samples: int) -> Edit:
        return Edit(prompt=f"make it winter [[{tag}]]", init_image=simulator.portrait_url, extra={"samples": samples})

    return make


def entry_of(simulator: Simulator, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = simulator.books()["by_tag"][tag]
    return found


def test_every_image_of_one_answer_is_kept(
    queue: EditQueue, edit: Any, simulator: Simulator, sink: Sink, tmp_path: Path
) -> None:
    """
    Four images of one POST have the same order in the client's results and in the webhook. `result` is the first image.
    """
    job = queue.enqueue(edit("several", 4), webhook=sink.url)
    result = job.result(PATIENCE_S)
    assert entry_of(simulator, "several") == {"posts": 1, "charged": 1, "statuses": ["success"]}
    assert [one.index for one in result.results] == [0, 1, 2, 3]
    assert len({one.sha256 for one in result.results}) == 4
    assert result.results[0] == result
    for one in result.results:
        assert hashlib.sha256(one.save(tmp_path / f"{one.index}.png").read_bytes()).hexdigest() == one.sha256
        assert (one.size, one.warnings) == (result.size, ())
        assert f"/{one.sha256}.png?" in one.url
    (request,) = sink.wait_for(1)
    data = json.loads(request.body)["data"]
    assert [one["sha256"] for one in data["results"]] == [one.sha256 for one in result.results]
    assert data["result"] == data["results"][0]


def test_an_image_that_cannot_be_kept_is_named(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """
    If the second of three images is a decompression bomb, the job succeeds with the other two images and a warning.
    """
    simulator.settings(list_output=True)
    simulator.faults(next=[{"kind": "processing", "tag": "gap", "output_kind": "bomb", "output_index": 1}])
    result = queue.enqueue(edit("gap", 3)).result(PATIENCE_S)
    assert [one.warnings for one in result.results] == [("output_missing:1",), ()]
    assert entry_of(simulator, "gap")["posts"] == 1


def test_more_images_than_are_kept(queue: EditQueue, edit: Any) -> None:
    """Of an answer with twenty images, sixteen are stored. A warning contains the number twenty."""
    result = queue.enqueue(edit("many-images", 20)).result(PATIENCE_S)
    assert len(result.results) == 16
    assert result.warnings == ("outputs_beyond_16:20",)
