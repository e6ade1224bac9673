"""The query language: the meaning of each term, writing and parsing, and the errors for wrong queries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.errors import InvalidQuery
from retouch.query import FIELDS, Cost, JobQuery, list_query, parse_query
from retouch.states import JobState

NOW = 1_764_000_000.0
WORDS = st.text("abcz_.-", min_size=1, max_size=8)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
TAGS = st.tuples(TEXTS.filter(lambda name: "=" not in name), st.just("") | TEXTS)
COSTS = st.builds(Cost, st.sampled_from([">", ">=", "<", "<=", "="]), st.integers(0, 999_999))
QUERIES = st.builds(
    JobQuery,
    tenants=st.lists(WORDS, max_size=2, unique=True).map(tuple),
    states=st.lists(st.sampled_from([*map(str, JobState)]), max_size=3, unique=True).map(tuple),
    codes=st.lists(WORDS, max_size=2, unique=True).map(tuple),
    accounts=st.lists(WORDS, max_size=2, unique=True).map(tuple),
    tags=st.lists(st.lists(TAGS, min_size=1, max_size=2).map(tuple), max_size=3).map(tuple),
    receivers=st.lists(WORDS.map("rc_{}".format), max_size=2, unique=True).map(tuple),
    ids=st.lists(WORDS.map("ed_{}".format), max_size=2, unique=True).map(tuple),
    costs=st.lists(st.lists(COSTS, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    since=st.just(0.0) | st.integers(1, 1_700_000_000).map(float),
    until=st.just(float("inf")) | st.integers(1_700_000_001, 1_800_000_000).map(lambda at: at + 0.125),
)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", JobQuery()),
        ("  state:failed  ", JobQuery(states=("failed",))),
        ("state:failed,cancelled,failed", JobQuery(states=("failed", "cancelled"))),
        ("code:spam_filter tenant:acme,zoo", JobQuery(codes=("spam_filter",), tenants=("acme", "zoo"))),
        ("account:b receiver:rc_1 id:ed_1", JobQuery(accounts=("b",), receivers=("rc_1",), ids=("ed_1",))),
        ("tag:order=17,18,a=1", JobQuery(tags=((("order", "17"), ("order", "18"), ("a", "1")),))),
        ("tag:order=17,order=18 tag:a=", JobQuery(tags=((("order", "17"), ("order", "18")), (("a", ""),)))),
        ('tag:"order=a, b" tag:x="\\"y z"', JobQuery(tags=((("order", "a, b"),), (("x", '"y z'),)))),
        ("since:2h until:30m", JobQuery(since=NOW - 7_200, until=NOW - 1_800)),
        ("since:1.5d", JobQuery(since=NOW - 129_600)),
        ("since:2025-11-24T12:00:00", JobQuery(since=1_763_985_600.0)),
        ("since:2025-11-24T13:00:00+01:00 until:1763999999.5", JobQuery(since=1_763_985_600.0, until=1_763_999_999.5)),
        ("cost:>1", JobQuery(costs=((Cost(">", 1),),))),
        ("cost:>=2 cost:<5,9", JobQuery(costs=((Cost(">=", 2),), (Cost("<", 5), Cost("=", 9))))),
    ],
)
def test_what_a_query_means(text: str, query: JobQuery) -> None:
    """
    A job must match every term of the query, and one of the values between commas. Quotes keep blanks and commas in a
    value. Ages count back from now.
    """
    assert parse_query(text, NOW) == query


@given(QUERIES)
def test_a_query_can_be_written_and_read_again(query: JobQuery) -> None:
    """Any query can be written as text. Parsing this text gives an equal query, even if it is parsed later."""
    assert parse_query(str(query), NOW + 1e6) == query


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("state:failed stat:failed", 14, "no field is called 'stat'; did you mean state:?"),
        ("customer:acme", 1, "did you mean tenant:?"),
        ("zzzz:1", 1, "no field is called 'zzzz'; expected one of state, code"),
        ("state:faild", 1, "got 'faild'; did you mean failed?"),
        ("state:", 1, "expected a value, such as state:failed"),
        ("state:failed,", 1, "expected a value"),
        ("state:failed state:queued", 14, "separate alternatives by commas: state:a,b"),
        ("winter", 1, "expected field:value; prompts cannot be searched"),
        ("prompt:winter", 1, "prompts and addresses cannot be searched"),
        ("url:example.com", 1, "prompts and addresses cannot be searched"),
        ("ed_123", 1, "did you mean id:ed_123?"),
        ("id:17", 1, "the id of a job, which begins with ed_, got '17'"),
        ("receiver:17", 1, "begins with rc_"),
        ("tag:order", 1, "expected name=value, got 'order'"),
        ('tag:"order=1', 1, "expected a closing quote"),
        ("since:tomorrow", 1, "expected an age such as 15m, 2h or 3d"),
        ("since:1h,2h", 1, "expected at most 1 value, got 2"),
        ("since:1h until:2h", 10, "expected a time after that of since:"),
        ("cost:cheap", 1, "expected a number of calls, such as >1"),
        ("tenant:a:b", 1, "expected a name without spaces and colons"),
        ("id:" + "ed_1," * 100 + "ed_2", 1, "expected at most 100 values, got 101"),
        ("x" * 5_000, 0, "expected at most 4,096 characters, got 5,000"),
    ],
)
def test_what_a_wrong_query_says(text: str, at: int, message: str) -> None:
    """The fault of a wrong term has the term, its position and the expected form; a misspelt name gets a suggestion."""
    with pytest.raises(InvalidQuery) as caught:
        parse_query(text, NOW)
    (fault,) = caught.value.faults
    assert fault.at == at
    assert message in fault.message
    assert len(fault.term) <= 40


def test_all_faults_are_named_at_once() -> None:
    """Each wrong term of a query has its own fault, in the order of the text."""
    with pytest.raises(InvalidQuery) as caught:
        parse_query("stat:x state:failed cost:much since:never", NOW)
    assert [fault.at for fault in caught.value.faults] == [1, 21, 31]


@given(
    st.text(max_size=60) | st.sampled_from(FIELDS).flatmap(lambda name: st.text(max_size=20).map(f"{name}:".__add__))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text is parsed or raises InvalidQuery. The text of a parsed query is parsed as the same query."""
    try:
        query = parse_query(text, NOW)
    except InvalidQuery:
        return
    assert parse_query(str(query), NOW) == query


def test_a_frozen_query_is_of_the_past() -> None:
    """A frozen query ends at the given instant, or at its own earlier end."""
    assert parse_query("state:failed", NOW).frozen(NOW).until == NOW
    assert parse_query("until:1h", NOW).frozen(NOW).until == NOW - 3_600


def test_options_beside_a_query_narrow_it() -> None:
    """An option for state or time is added to the query. If the query has the same field, InvalidQuery is raised."""
    assert list_query("failed", "code:x since:2h", NOW - 60, NOW) == JobQuery(
        states=("failed",), codes=("x",), since=NOW - 60
    )
    assert list_query("state:failed code:x", None, 0.0, NOW) == JobQuery(states=("failed",), codes=("x",))
    with pytest.raises(InvalidQuery, match="state: is in the query and in another option"):
        list_query("failed", "state:queued", 0.0, NOW)


@pytest.mark.parametrize(("sign", "fitting"), [(">", [2]), (">=", [1, 2]), ("<", [0]), ("<=", [0, 1]), ("=", [1])])
def test_bounds_of_the_cost(sign: Any, fitting: list[int]) -> None:
    """Each sign of a cost (>, >=, <, <=, =) compares as in arithmetic."""
    assert [count for count in range(3) if Cost(sign, 1).holds(count)] == fitting
