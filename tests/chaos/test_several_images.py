"""A worker dies between two images of one answer: the images that it stored are used, and nothing is paid for twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retouch import Edit
from tests.chaos.stack import Stage, a_stage, environment_of
from tests.process_watch import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


def start_mortal(stage: Stage, point: str, passes: int) -> Path:
    """
    Start a worker that dies when it has passed `point` the given number of times. Return the path of the log of kills.

    After its death, another worker starts.
    """
    log = stage.folder / "kills"
    options = ["--kills", "1", "--seed", "1", "--apart-s", "0.1", "--children", "1", "--log", str(log)]
    command = [sys.executable, "-m", "tests.chaos.worker_kills", *options, "--point", point, "--passes", str(passes)]
    stage.workers.append(subprocess.Popen(command, env=environment_of(stage.settings)))
    return log


@pytest.mark.parametrize(
    ("point", "read_again"),
    [("before bring", 1), ("after bring", 0), ("before settle", 0)],
)
def test_a_worker_dies_between_two_images(tmp_path: Path, point: str, read_again: int) -> None:
    """
    If a worker dies between images or before it settles the job, all three images are stored after one POST.

    Only an image that is not on record yet is downloaded again.
    """
    passes = 1 if point == "before settle" else 2
    with a_stage(tmp_path, latency_s=0.05, max_charges=1) as stage:
        log = start_mortal(stage, point, passes)
        picture = f"{stage.simulator.url}/samples/portrait.jpg"
        job = stage.queue.enqueue(Edit(prompt="winter [[0]]", init_image=picture, extra={"samples": 3}))
        assert eventually(lambda: stage.all_final([job.id]), 60)
        assert log.read_text().startswith(f"{point}\t")
        (record,) = stage.records([job.id])
        assert (record.state, stage.charged()) == ("succeeded", [1])
        assert len({image.sha256 for image in record.images}) == 3
        assert stage.simulator.books()["downloads"] == {"200": 3 + read_again}
        stage.workers[0].terminate()
        stage.workers[0].wait()
