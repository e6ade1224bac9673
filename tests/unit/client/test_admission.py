"""
Which edits and options are accepted; the error for a refused value names the field, the value and the allowed range.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch import Edit, InvalidEdit, Settings
from retouch.admission import Options, admit, fingerprint, resolve_options
from retouch.store.records import JobSpec

URL = "https://pictures.example.com/in.png"
SECRET_URL = "https://planted-customer.example.com/in.png"
SECRET = "planted prompt words"
SETTINGS = Settings(callback_tasks=("billing.tasks.edited@billing", "plain.task"))


def faults_of(**values: Any) -> dict[str, str]:
    """Return the faults of an edit with these values, by field. Assert that the error shows no prompt and no URL."""
    with pytest.raises(InvalidEdit) as caught:
        Edit(**{"prompt": SECRET, "init_image": SECRET_URL, **values})
    shown = f"{caught.value} {caught.value!r}"
    assert SECRET not in shown
    assert "planted-customer" not in shown
    return dict(caught.value.faults)


def admitted(edit: Edit | None = None, **options: Any) -> JobSpec:
    terms = resolve_options(Options(**options), SETTINGS, lambda tenant, _: f"rc_{tenant}")
    return JobSpec.from_json(admit(edit or Edit(prompt="a", init_image=URL), terms).spec_json)


def refused(**options: Any) -> dict[str, str]:
    with pytest.raises(InvalidEdit) as caught:
        resolve_options(Options(**options), SETTINGS, lambda *_: "rc_1")
    return dict(caught.value.faults)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", "", "expected 1 to 10,000 characters, got 0"),
        ("prompt", "  \n", "expected 1 to 10,000 characters, got only white space"),
        ("prompt", "x" * 3_000_000, "expected 1 to 10,000 characters, got 3,000,000"),
        ("prompt", 7, "expected text, got int"),
        ("prompt", None, "expected text, got NoneType"),
        ("prompt", "\ud800", "expected text that UTF-8 can carry"),
        ("init_image", "in.png", "expected an http(s) URL, got something else"),
        ("init_image", "file:///etc/passwd", "expected an http(s) URL, got file:"),
        ("init_image", "http://", "expected an http(s) URL, got http:"),
        ("init_image", b"https://a.example", "expected text, got bytes"),
        ("guidance_scale", 0, "expected a number from 1 to 20, got 0"),
        ("guidance_scale", 21, "expected a number from 1 to 20, got 21"),
        ("guidance_scale", "7x", "expected a number from 1 to 20, got '7x'"),
        ("guidance_scale", "7", "expected a number from 1 to 20, got '7'"),
        ("guidance_scale", True, "expected a number from 1 to 20, got True"),
        ("guidance_scale", float("nan"), "expected a number from 1 to 20, got nan"),
        ("image_guidance_scale", 9, "expected a number from 1 to 8, got 9"),
        ("image_guidance_scale", float("inf"), "expected a number from 1 to 8, got inf"),
        ("steps", 0, "expected a whole number from 1 to 50, got 0"),
        ("steps", 51, "expected a whole number from 1 to 50, got 51"),
        ("steps", 7.5, "expected a whole number from 1 to 50, got 7.5"),
        ("steps", [1] * 99, "expected a whole number from 1 to 50, got [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, …"),
        ("extra", [], "expected an object, got list"),
        ("extra", {"key": "k", "prompt": "p"}, "must not hold key, prompt"),
        ("extra", {"a": object()}, "expected values that JSON can carry"),
        ("extra", {"a": float("nan")}, "expected values that JSON can carry"),
        ("extra", {"a": "\ud800"}, "expected values that JSON can carry"),
        ("extra", {"a": "x" * 20_000}, "expected at most 16,384 bytes of JSON, got 20,009"),
        (
            "seed",
            7,
            "is not a field of an edit; put parameters that the endpoint does not document into extra",
        ),
    ],
)
def test_each_wrong_field_is_named_with_its_range(field: str, value: object, message: str) -> None:
    """
    A wrong value has one fault with the field, the expected range and the value. The error contains neither prompt nor
    URL.
    """
    assert faults_of(**{field: value}) == {field: message}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [100, 900, 5_000])
def test_extra_nests_no_deeper_than_every_reader_can_follow(depth: int) -> None:
    """An `extra` that is nested deeper than the store can read is refused; 32 levels are accepted."""
    assert faults_of(extra={"a": nested(depth)}).keys() == {"extra"}
    assert Edit(prompt="a", init_image=URL, extra={"a": nested(31)}).extra


def test_all_faults_come_at_once() -> None:
    """One error has a fault for each wrong or missing field."""
    assert set(faults_of(prompt="", steps=0, guidance_scale="7x")) == {"prompt", "steps", "guidance_scale"}
    with pytest.raises(InvalidEdit, match=r"init_image: expected a value, got none; prompt: |prompt: expected a value"):
        Edit()  # type: ignore[call-arg]  # both are missing on purpose


def test_no_form_of_an_edit_shows_the_prompt_or_the_address() -> None:
    """The `repr` and the text of an edit have its numbers, but neither prompt, address nor extra."""
    edit = Edit(prompt=SECRET, init_image=SECRET_URL, extra={"note": SECRET})
    shown = f"{edit!r} {edit} {[edit]}"
    assert SECRET not in shown
    assert "planted-customer" not in shown
    assert "guidance_scale=7" in shown


@given(
    st.builds(
        Edit,
        prompt=st.text(min_size=1, max_size=50).filter(str.strip),
        init_image=st.just(URL),
        image_guidance_scale=st.floats(1, 8) | st.integers(1, 8),
        steps=st.integers(1, 50),
        guidance_scale=st.floats(1, 20),
        extra=st.dictionaries(st.text(max_size=5).map("x{}".format), st.integers() | st.text(max_size=5), max_size=2),
    )
)
def test_fields_of_an_edit_survive_the_record(edit: Edit) -> None:
    """A stored edit is read with the same fields. In JSON, a whole number has no decimal point."""
    spec = admitted(edit)
    assert Edit(**spec.edit) == edit
    assert spec.edit == edit.fields()
    assert json.dumps(Edit(prompt="a", init_image=URL, guidance_scale=7.0).fields()["guidance_scale"]) == "7"


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"priority": "urgent"}, "priority", "expected one of high, normal, low, got 'urgent'"),
        ({"tenant": "a b"}, "tenant", "expected 1 to 64 letters, digits, dots, dashes or underscores"),
        ({"tenant": ""}, "tenant", "expected 1 to 64 letters, digits, dots, dashes or underscores"),
        ({"tenant": "a:b"}, "tenant", "expected 1 to 64 letters, digits, dots, dashes or underscores"),
        ({"deadline_s": 0}, "deadline_s", "expected seconds, more than 0 and at most 2,592,000, got 0"),
        ({"deadline_s": float("nan")}, "deadline_s", "expected seconds, more than 0 and at most 2,592,000, got nan"),
        ({"max_charges": 0}, "max_charges", "expected a whole number from 1 to 10, got 0"),
        ({"max_charges": 1.0}, "max_charges", "expected a whole number from 1 to 10, got 1.0"),
        ({"max_attempts": True}, "max_attempts", "expected a whole number from 1 to 100, got True"),
        ({"callback": "os.system"}, "callback", "task 'os.system' is not on the allow-list RETOUCH_CALLBACK_TASKS"),
        ({"idempotency_key": "a\nb"}, "idempotency_key", "expected at most 255 printable characters"),
        ({"idempotency_key": "x" * 256}, "idempotency_key", "expected at most 255 printable characters"),
        (
            {"tags": {"a": 1}},
            "tags",
            "expected names and values that are text, at most 200 characters together",
        ),
        (
            {"tags": {"a": "\ud800"}},
            "tags",
            "expected names and values that are text, at most 200 characters together",
        ),
        ({"tags": {str(n): "" for n in range(21)}}, "tags", "expected at most 20 tags, got 21"),
    ],
)
def test_each_wrong_option_is_named_with_its_range(options: dict[str, Any], field: str, message: str) -> None:
    """A wrong option has one fault with the option, the expected range and the value."""
    assert refused(**options) == {field: message}


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/in.png",
        "http://10.0.0.1/in.png",
        "http://[::1]/in.png",
        "http://169.254.169.254/latest/meta-data",
        "https://localhost/in.png",
        "https://user:pass@a.example.com/",
        "https://a.example.com:8443/in.png",
    ],
)
def test_addresses_inside_are_refused_by_their_text(address: str) -> None:
    """A private address of a picture or a webhook is refused, and the error does not contain the address."""
    faults = refused(webhook=address)
    assert list(faults) == ["webhook"]
    with pytest.raises(InvalidEdit) as caught:
        admitted(Edit(prompt="a", init_image=address))
    assert dict(caught.value.faults).keys() == {"init_image"}
    assert address not in str(caught.value) + str(faults)


def test_a_callback_is_taken_from_the_allow_list() -> None:
    """
    The queue of a callback comes from the allow-list, even if the caller does not name the queue. The default is
    Celery's own queue.
    """
    assert admitted(callback="billing.tasks.edited").callback == "billing.tasks.edited@billing"
    assert admitted(callback="billing.tasks.edited@billing").callback == "billing.tasks.edited@billing"
    assert admitted(callback="plain.task").callback == "plain.task@celery"


def test_a_record_holds_what_was_chosen_and_no_more() -> None:
    """A stored spec contains only the options that were set, so that a million waiting jobs need little memory."""
    terms = resolve_options(Options(), SETTINGS, lambda *_: "rc_1")
    raw = json.loads(admit(Edit(prompt="a", init_image=URL), terms).spec_json)
    assert raw.keys() == {"tenant", "edit", "deadline_s"}
    spec = admitted(tags={"order": "17"}, max_charges=1, priority="high", webhook=URL, events=["edit.running"])
    assert (spec.tags, spec.policy, spec.priority) == ({"order": "17"}, {"max_charges": 1}, "high")
    assert (spec.receivers, spec.events) == (("rc_default",), ("edit.running",))
    assert JobSpec.from_json(spec.to_json()) == spec


def test_the_same_request_has_the_same_fingerprint() -> None:
    """Two JSON texts have the same fingerprint if only the order of their members differs; another value changes it."""
    assert fingerprint('{"a":1,"b":2}') == fingerprint('{"b": 2, "a": 1}')
    assert fingerprint('{"a":1,"b":2}') != fingerprint('{"a":1,"b":3}')
