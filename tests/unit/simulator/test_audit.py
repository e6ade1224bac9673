"""The simulator's books, settings, faults and checks, without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from retouch_ops.simulator.audit import Audit, Identity, without_token
from retouch_ops.simulator.config import ControlError, OutputKind, SimulatorConfig
from retouch_ops.simulator.effects import EFFECTS, Plan
from retouch_ops.simulator.faults import FAULTS, FETCH_FAULTS, FaultScript, is_charged
from retouch_ops.simulator.state import SpamFilter
from retouch_ops.simulator.validation import EditRequest, validate

BODY: dict[str, object] = {"prompt": "make him woman", "init_image": "https://example.com/in.png", "steps": 50}
fields = SimulatorConfig.model_fields
DOCS = Path(__file__).parents[3] / "docs" / "simulator.md"


class Clock:
    """A replacement of `time.monotonic` that returns `now`, which the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_a_request_is_known_by_its_token_its_prompt_and_its_body() -> None:
    """
    The tag of a request is the token in its prompt, or else the hash of its body. The hash ignores the API key, and is
    the same for 50 and 50.0.
    """
    tagged = Identity.of(BODY | {"prompt": "a hat [[order-17]]"})
    plain = Identity.of(BODY)
    assert tagged.tag == "order-17"
    assert plain.tag == plain.body
    assert plain == Identity.of(BODY | {"key": "other", "steps": 50.0})
    assert plain.prompt == Identity.of(BODY | {"steps": 20}).prompt
    assert plain.body != Identity.of(BODY | {"steps": 20}).body


def test_books_count_posts_charges_and_answers_by_tag() -> None:
    """
    For each tag, prompt and body, the books have the number of POSTs, the number of charges, and the statuses in order.
    """
    books, identity = Audit(cap=5), Identity.of(BODY | {"prompt": "x [[t]]"})
    first, second = books.record_post(identity, "x"), books.record_post(identity, "x")
    books.record_charge(first)
    books.record_answer(first, "success")
    books.record_refusal(second, "spam_filter")
    as_json: dict[str, Any] = books.as_json()
    entry = {"posts": 2, "charged": 1, "statuses": ["success", "spam_filter"]}
    assert as_json["by_tag"] == {"t": entry}
    assert as_json["by_prompt"] == {identity.prompt: entry}
    assert as_json["by_body"] == {identity.body: entry}
    assert (as_json["posts"], as_json["charged"], as_json["refused"]) == (2, 1, {"spam_filter": 1})
    assert not {"by_tag", "by_prompt", "by_body"} & set(books.as_json(totals=True))


def test_books_integrate_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If two requests are in flight during the last 10 of 20 s, `in_flight_seconds` is 20. With a cap of 4, a quarter of
    the cap was used over all 20 s, and half of it during the last 10 s.
    """
    clock = Clock(monkeypatch)
    books = Audit(cap=4)
    clock.now += 10
    places = [books.enter("k"), books.enter("k")]
    clock.now += 10
    for place in places:
        place.leave()
        place.leave()
    as_json = books.as_json()
    assert (as_json["in_flight_seconds"], as_json["busy_seconds"], as_json["window_seconds"]) == (20, 10, 20)
    assert (as_json["cap_used"], as_json["cap_used_while_busy"]) == (0.25, 0.5)
    assert (as_json["in_flight"], as_json["max_in_flight"]) == (0, 2)


def test_a_changed_cap_counts_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request is in flight for 20 s. If the cap changes from 1 to 3 after 10 s, half of the cap was used."""
    clock = Clock(monkeypatch)
    books = Audit(cap=1)
    books.enter("k")
    clock.now += 10
    books.set_cap(3)
    clock.now += 10
    assert books.as_json()["cap_used"] == 0.5


def test_the_cap_is_per_key() -> None:
    """A key that has reached the cap is full until a request ends; another key is not full."""
    books = Audit(cap=1)
    place = books.enter("one")
    assert books.is_full("one")
    assert not books.is_full("other")
    place.leave()
    assert not books.is_full("one")


def test_the_spam_filter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accepted body counts as repeated for the given time, but not after `forget`."""
    clock, spam_filter = Clock(monkeypatch), SpamFilter()
    spam_filter.accept("body")
    clock.now += 29
    assert spam_filter.is_repeated("body", 30)
    assert not spam_filter.is_repeated("body", 0)
    assert not spam_filter.is_repeated("other", 30)
    clock.now += 1
    assert not spam_filter.is_repeated("body", 30)
    spam_filter.accept("body")
    spam_filter.forget("body")
    assert not spam_filter.is_repeated("body", 30)


def test_scripted_faults_come_in_order_and_to_their_tag() -> None:
    """The next answers get the scripted faults in order; a fault with a tag waits for a POST with that tag."""
    script = FaultScript()
    script.apply({"next": [{"kind": "html_502", "times": 2}, {"kind": "failed", "tag": "b"}, {"kind": "drip"}]})
    assert [script.for_post(tag, 0).kind for tag in "aaabaa"] == [
        "html_502",
        "html_502",
        "drip",
        "failed",
        "success",
        "success",
    ]
    assert script.as_json()["next"] == []


def test_fetch_faults_are_a_script_of_their_own() -> None:
    """A fault for the next fetch does not affect POSTs."""
    script = FaultScript()
    script.apply({"next_fetch": [{"kind": "html_502"}]})
    assert script.for_post("a", 0).kind == "success"
    assert [script.for_fetch("a").kind, script.for_fetch("a").kind] == ["html_502", "success"]


def test_rates_are_drawn_from_the_seed() -> None:
    """Two scripts with the same seed draw the same faults, with about the given rates."""

    def drawn() -> list[str]:
        script = FaultScript()
        script.apply({"rates": {"failed": 0.2, "html_502": 0.1}, "seed": 7})
        return [script.for_post("t", 0).kind for _ in range(1_000)]

    kinds = drawn()
    assert kinds == drawn()
    assert 150 < kinds.count("failed") < 250
    assert 60 < kinds.count("html_502") < 140


def test_the_processing_share_is_drawn_too() -> None:
    """With a processing share of 1, a POST without a scripted fault is answered `processing`."""
    script = FaultScript()
    script.apply({"next": [{"kind": "success"}]})
    assert [script.for_post("t", 1).kind, script.for_post("t", 1).kind] == ["success", "processing"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"next": [{"kind": "zap"}]}, "'zap'.*known: success, queue_full"),
        ({"next_fetch": [{"kind": "flagged"}]}, "'flagged'.*known: success, bad_key"),
        ({"rates": {"zap": 0.1}}, "'zap'.*known: success"),
        ({"rates": {"failed": 0.7, "drip": 0.7}}, "sum of at most 1"),
        ({"next": [{"kind": "drip", "times": 0}]}, "next.0.times"),
        ({"next": [{"output_kind": "gif"}]}, "output kinds: png, html"),
        ({"previous": []}, "known: next, next_fetch, rates, seed"),
        ([], "known: next"),
    ],
)
def test_a_wrong_fault_call_names_what_is_known_and_changes_nothing(call: object, words: str) -> None:
    """A wrong call to set faults raises ControlError with the known names, and sets no fault."""
    script = FaultScript()
    with pytest.raises(ControlError) as caught:
        script.apply(call)
    assert re.search(words, str(caught.value))
    assert script.as_json() == {"next": [], "next_fetch": [], "rates": {}}


def test_settings_change_one_by_one_and_name_the_known_ones() -> None:
    """
    A change of one setting keeps the others. An unknown name or a wrong value raises ControlError, and neither an
    error nor the printed settings contain a key.
    """
    config = SimulatorConfig(cap=9).changed({"latency_s": 1.5})
    assert (config.cap, config.latency_s) == (9, 1.5)
    with pytest.raises(ControlError, match=r"unknown setting 'zap'; known: keys, cap"):
        config.changed({"zap": 1})
    with pytest.raises(ControlError, match=r"cap: .* got 0"):
        config.changed({"cap": 0})
    with pytest.raises(ControlError) as caught:
        config.changed({"keys": "sk-planted"})
    assert "sk-planted" not in str(caught.value)
    assert "sk-planted" not in str(config.changed({"keys": ["sk-planted"]}).as_json())


def test_charges_follow_the_stage_of_a_fault() -> None:
    """A fault of the stage `refusal` or `failing` is free. A fault of the stage `lost` or `variant` is charged."""
    free = {kind for kind in FAULTS if not is_charged(kind)}
    assert {"queue_full", "bad_key", "reset_before_work", "failed", "error_500", "processing_failed"} <= free
    assert not free & {"reset_after_work", "read_timeout", "html_502", "statusless_200", "drip", "flagged", "success"}
    assert set(FETCH_FAULTS) <= set(FAULTS)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"prompt": None}, "prompt", "The prompt field is required."),
        ({"prompt": "  "}, "prompt", "The prompt field is required."),
        ({"init_image": 7}, "init_image", "The init image field is required."),
        ({"steps": "50"}, "steps", "The steps must be an integer."),
        ({"steps": 2.5}, "steps", "The steps must be an integer."),
        ({"steps": 0}, "steps", "The steps must be between 1 and 1000."),
        ({"guidance_scale": True}, "guidance_scale", "The guidance scale must be a number."),
        ({"guidance_scale": 21}, "guidance_scale", "The guidance scale must be between 1 and 20."),
    ],
)
def test_fields_are_checked_in_the_endpoints_words(change: dict[str, object], field: str, words: str) -> None:
    """A wrong field is returned with a list of the endpoint's own messages."""
    assert validate(BODY | change, is_v6=False) == {field: [words]}


def test_numbers_have_defaults_and_v6_narrower_ranges() -> None:
    """Missing numbers have defaults; 60 steps are accepted by v5 but not by v6."""
    request = validate({"prompt": "p", "init_image": "u"}, is_v6=True)
    assert request == EditRequest("p", "u", image_guidance_scale=1, steps=20, guidance_scale=7)
    assert isinstance(validate(BODY | {"steps": 60}, is_v6=False), EditRequest)
    assert validate(BODY | {"steps": 60}, is_v6=True) == {"steps": ["The steps must be between 1 and 50."]}


def test_every_setting_fault_and_output_kind_is_documented() -> None:
    """docs/simulator.md documents each setting with its default, each fault with its stage, and each output kind."""
    text = DOCS.read_text()
    defaults = SimulatorConfig().model_dump(mode="json")
    rows = [f"| `{name}` | `{json.dumps(value)}` | {fields[name].description} |" for name, value in defaults.items()]
    rows += [f"| `{kind}` | {stage} | {means} |" for kind, (stage, means) in FAULTS.items()]
    rows += [f"`{kind}`" for kind in (*get_args(OutputKind), *FETCH_FAULTS)]
    assert [row for row in rows if row not in text] == []


def test_every_effect_is_documented_with_its_words() -> None:
    """docs/simulator.md has a row for each effect, and the first word in this row selects the effect."""
    rows = dict(re.findall(r"^\| ([a-z ]+) \| ([^|`]+) \|$", DOCS.read_text(), re.MULTILINE))
    assert set(EFFECTS) <= set(rows)
    assert [name for name in EFFECTS if name not in Plan.of(rows[name].split(", ")[0], 1, 50, 7).effects] == []


def test_the_tag_does_not_change_the_picture() -> None:
    """`without_token` removes the tag from a prompt, so the tag does not change the effects."""
    assert without_token("a sketch [[order-17]]") == "a sketch"
