"""The typed names of options, states and events equal the names that the code checks."""

from __future__ import annotations

from typing import get_args

import retouch
from retouch import EventName, JobOptions, JobState, Priority, StateName
from retouch.admission import Options
from retouch.states import EVENTS
from retouch.store.jobs import PRIORITY_BOOST_S


def test_every_option_has_a_type() -> None:
    """The types for options, priorities, states and events have exactly the names that the code accepts."""
    assert set(JobOptions.__annotations__) == set(Options.__dataclass_fields__)
    assert set(get_args(Priority)) == set(PRIORITY_BOOST_S)
    assert set(get_args(StateName)) == set(JobState)
    assert set(get_args(EventName)) == EVENTS


def test_public_names_are_importable_and_have_help() -> None:
    """Every public name of `retouch` exists, and each class and function has a docstring."""
    assert retouch.__version__
    for name in set(retouch.__all__) - {"__version__", "EventName", "Priority", "StateName"}:
        assert getattr(retouch, name).__doc__, name


def test_a_queue_says_where_it_goes_and_no_password() -> None:
    """The `repr` of a queue has its URL without user, password and query."""
    queue = retouch.EditQueue("redis://user:planted@127.0.0.1:6379/3?password=planted")
    assert repr(queue) == "EditQueue('redis://127.0.0.1:6379/3')"
