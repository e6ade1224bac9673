"""
A worker's log has one line for each event, as text or JSON, with ids. Libraries write no arguments of calls into it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from retouch import Settings
from retouch_worker import logs

KEY = "sk-planted-key"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_json_lines_hold_the_event_and_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """With the log format `json`, each line is a JSON object with event, level, timestamp and ids."""
    logs.configure(Settings(log_format="json"))
    structlog.get_logger("retouch").info("attempt_ended", job="ed_1", charges=1)
    entry: dict[str, Any] = json.loads(lines(capsys)[0])
    assert (entry["event"], entry["job"], entry["charges"], entry["level"]) == ("attempt_ended", "ed_1", 1, "info")
    assert entry["timestamp"].endswith("Z")


@pytest.mark.parametrize("library", ["celery.worker.strategy", "celery.app.trace", "kombu", "urllib3", "amqp"])
def test_libraries_do_not_print_arguments_at_debug(capsys: pytest.CaptureFixture[str], library: str) -> None:
    """Even at DEBUG, libraries that would log messages and URLs log only warnings."""
    logs.configure(Settings(log_level="DEBUG"))
    logging.getLogger(library).debug("Task received: %s", KEY)
    logging.getLogger(f"{library}.deeper").info("https://planted.example")
    logging.getLogger(library).warning("the connection is lost")
    written = lines(capsys)
    assert len(written) == 1
    assert "the connection is lost" in written[0]


def test_the_level_is_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines below RETOUCH_LOG_LEVEL are not written."""
    logs.configure(Settings(log_level="WARNING"))
    structlog.get_logger("retouch").info("quiet")
    structlog.get_logger("retouch").warning("loud", job="ed_1")
    written = lines(capsys)
    assert len(written) == 1
    assert "loud" in written[0]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_local_variable(capsys: pytest.CaptureFixture[str], form: Any) -> None:
    """A logged traceback has the file and the error, and no values of local variables."""
    logs.configure(Settings(log_format=form))

    def fail(password: str) -> None:
        raise ValueError(f"{len(password)} letters")

    try:
        fail("planted-" + KEY)
    except ValueError:
        logging.getLogger("celery").critical("unrecoverable", exc_info=True)
    text = capsys.readouterr().err
    assert "test_logs.py" in text
    assert "ValueError: 22 letters" in text
    assert "planted-" + KEY not in text
