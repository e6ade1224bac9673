"""
A client is quick to import and to make, since a library is loaded only when it is needed.

CPU time and memory are compared with those of a bare interpreter, which a busy machine slows down as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[3]
RUNS = 5
READY = "from retouch import EditQueue; EditQueue(redis_url='redis://127.0.0.1:1/0')"
OVER_A_GATEWAY = "from retouch import EditQueue; EditQueue('https://gateway.example', api_key='rtk_x')"
HEAVY = ("pydantic", "redis", "asyncio", "ssl", "http", "urllib.request", "email", "opentelemetry", "logging")
FIRST_USED_BESIDE_A_THREAD = """
import json, sys, threading
from retouch import EditQueue

queue, over = EditQueue("redis://127.0.0.1:1/0"), threading.Event()
threading.Thread(target=over.wait).start()
names = ("redis", "opentelemetry.sdk")
before = [name in sys.modules for name in names]
queue.settings
after = [name in sys.modules for name in names]
import opentelemetry.sdk.metrics
over.set()
print(json.dumps([before, after, "opentelemetry.sdk.metrics" in sys.modules]))
"""
MEASURE = """
import json, time
with open("/proc/self/status") as status:
    [peak_kb] = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
print(json.dumps([time.process_time(), peak_kb]))
"""


def output_of(code: str) -> str:
    """Run the code in a new interpreter without environment variables, and return the output."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={}).stdout


def cpu_and_memory(code: str) -> tuple[float, float]:
    """Return the CPU time in seconds and the peak of memory in kB of a new interpreter that runs the code."""
    cpu_s, peak_kb = json.loads(output_of(f"{code}\n{MEASURE}"))
    return cpu_s, peak_kb


@pytest.mark.parametrize("code", ["import retouch", READY, OVER_A_GATEWAY])
def test_what_is_not_needed_before_the_first_call_is_not_loaded(code: str) -> None:
    """A process that makes a client, over Redis or over a gateway, loads none of the heavy libraries."""
    loaded = output_of(f"{code}\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert loaded.split() == []


def test_an_edit_needs_pydantic_alone() -> None:
    """`from retouch import Edit` loads neither redis-py nor pydantic-settings, and builds no pydantic model."""
    code = "import sys; from retouch import Edit, EditQueue; print(Edit.__pydantic_complete__, *sys.modules)"
    built, *loaded = output_of(code).split()
    assert built == "False"
    assert {"redis", "pydantic_settings", "asyncio", "ssl"} & set(loaded) == set()


def test_a_client_that_is_first_used_beside_threads_loads_no_sdk() -> None:
    """
    The first use of a client loads redis-py without the SDK of OpenTelemetry, even while other threads run. The
    application can import the SDK afterwards.
    """
    assert json.loads(output_of(FIRST_USED_BESIDE_A_THREAD)) == [[False, False], [True, False], True]


@pytest.mark.parametrize(
    ("code", "cpu_most", "memory_most"),
    [
        ("import retouch", 3.0, 1.6),  # measured: 1.9 times and 1.2 times those of a bare interpreter
        (READY, 4.0, 2.0),  # measured: 2.3 times and 1.3 times
    ],
)
def test_a_start_costs_little_more_than_that_of_python(code: str, cpu_most: float, memory_most: float) -> None:
    """
    A process that imports `retouch` or makes a client needs at most a few times the CPU time and memory of a bare
    interpreter.
    """
    pairs = [(cpu_and_memory("pass"), cpu_and_memory(code)) for _ in range(RUNS)]
    bare_cpu, bare_memory = (median(values) for values in zip(*(bare for bare, _ in pairs), strict=True))
    cpu, memory = (median(values) for values in zip(*(own for _, own in pairs), strict=True))
    assert cpu < cpu_most * bare_cpu
    assert memory < memory_most * bare_memory
