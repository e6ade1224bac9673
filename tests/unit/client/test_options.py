"""The typed names of options, states and events equal those that the code checks."""

from __future__ import annotations

from typing import get_args

import retouch
from retouch import EventName, JobOptions, JobState, Priority, StateName
from retouch.admission import Options
from retouch.states import EVENTS
from retouch.store.jobs import PRIORITY_BOOST_S


def test_every_option_has_a_type() -> None:
    """The options, priorities, states and events of `enqueue` are those that type checkers know."""
    assert set(JobOptions.__annotations__) == set(Options.__dataclass_fields__)
    assert set(get_args(Priority)) == set(PRIORITY_BOOST_S)
    assert set(get_args(StateName)) == set(JobState)
    assert set(get_args(EventName)) == EVENTS


def test_public_names_are_importable_and_have_help() -> None:
    """Every name of `retouch` exists; each class and function has a docstring."""
    assert retouch.__version__
    for name in set(retouch.__all__) - {"__version__", "EventName", "Priority", "StateName"}:
        assert getattr(retouch, name).__doc__, name


def test_a_queue_says_where_it_goes_and_no_password() -> None:
    """The `repr` of a queue names its address, without user, password and key."""
    queue = retouch.EditQueue("redis://user:planted@127.0.0.1:6379/3?password=planted")
    assert repr(queue) == "EditQueue('redis://127.0.0.1:6379/3')"
