"""A pytest plugin with the fixture `retouch_simulator`, for tests of code that calls the endpoint or enqueues edits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from retouch_ops.simulator.process import Simulator


@pytest.fixture(scope="session")
def _retouch_simulator_process() -> Iterator[Simulator]:
    # Imported here: pytest loads the plugin in every project that it is installed beside.
    from retouch_ops.simulator.process import Simulator

    with Simulator(latency_s=0.02, spam_filter_s=0.3, processing_s=0.1) as simulator:
        yield simulator


@pytest.fixture
def retouch_simulator(_retouch_simulator_process: Simulator) -> Simulator:
    """
    Return a simulator of the endpoint whose counts are zero. One process serves all tests of the session.

    `pix2pix_url` and `fetch_url` are the URLs of the simulator. `faults(…)` makes it fail, and `books()` returns the
    charges. An answer takes 20 ms. `settings(latency_s=4.6)` changes that until the test ends, and can change every
    other setting.
    """
    _retouch_simulator_process.reset()
    return _retouch_simulator_process
