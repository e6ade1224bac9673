"""
The simulator's edits: prompts choose effects, numbers set their strength, and each odd kind of output is as its name
says.
"""

from __future__ import annotations

import io
import warnings
from itertools import pairwise

import pytest
from PIL import Image, ImageChops, ImageStat

from retouch_ops.simulator.app import SAMPLE
from retouch_ops.simulator.effects import EFFECTS, Plan, apply, strength_of
from retouch_ops.simulator.output_bytes import Output, UnreadableImage, edited_png, output_of

PHOTO = SAMPLE.read_bytes()


def photo() -> Image.Image:
    with Image.open(io.BytesIO(PHOTO)) as picture:
        return picture.convert("RGB").resize((128, 128))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures, from 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_changes_the_photograph_and_keeps_its_size(name: str) -> None:
    """An effect that the prompt names changes the picture and keeps its size."""
    plan = Plan.of(f"please, {name} style", 1, 50, 7)
    edited = apply(plan, photo())
    assert name in plan.effects
    assert edited.size == (128, 128)
    assert difference(edited, photo()) > 1


def test_effects_differ_from_each_other() -> None:
    """No two effects make the same picture."""
    results = {name: apply(Plan.of(name, 1, 50, 7), photo()).tobytes() for name in EFFECTS}
    assert len(set(results.values())) == len(EFFECTS) >= 10


def test_words_inside_other_words_name_no_effect() -> None:
    """The name of an effect inside another word does not choose the effect: "soil" does not choose "oil"."""
    assert Plan.of("the foil over the soil", 1, 50, 7).effects == ()


def test_a_prompt_without_effect_is_a_mild_tint_of_its_own() -> None:
    """A prompt without an effect tints the picture a little. The tint depends only on the prompt."""
    one, other = (apply(Plan.of(prompt, 1, 50, 7), photo()) for prompt in ("make him woman", "add a hat"))
    assert 0 < difference(one, photo()) < 60
    assert one.tobytes() != other.tobytes()
    assert one.tobytes() == apply(Plan.of("make him woman", 1, 50, 7), photo()).tobytes()


def test_numbers_set_the_strength() -> None:
    """The strength grows with guidance_scale and steps, and falls with image_guidance_scale. It is from 0.05 to 1."""
    for rising in (
        [strength_of(1, 50, guidance) for guidance in (1, 4, 7, 12, 20)],
        [strength_of(1, steps, 7) for steps in (1, 10, 25, 50)],
        [strength_of(loyalty, 50, 7) for loyalty in (8, 4, 2, 1)],
    ):
        assert all(weaker < stronger for weaker, stronger in pairwise(rising))
        assert all(0.05 <= strength <= 1 for strength in rising)
    weak, strong = (apply(Plan.of("winter", 1, 50, guidance), photo()) for guidance in (1, 20))
    assert difference(weak, photo()) < difference(strong, photo())


def test_an_edit_is_a_png_and_always_the_same() -> None:
    """The same bytes and plan always make the same PNG, of the photograph's size."""
    plan = Plan.of("a pencil sketch", 1, 50, 7)
    png = edited_png(PHOTO, plan)
    assert png == edited_png(PHOTO, plan)
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.size) == ("PNG", (512, 512))


@pytest.mark.parametrize("source", [b"", b"<html>", b"\x89PNG\r\n\x1a\n", PHOTO[: len(PHOTO) // 2]])
def test_what_is_no_picture_is_refused(source: bytes) -> None:
    """Text, the first bytes of a PNG and half a photograph raise UnreadableImage."""
    with pytest.raises(UnreadableImage):
        edited_png(source, Plan.of("night", 1, 50, 7))


def test_a_mark_tells_two_links_apart_and_leaves_the_picture_alone() -> None:
    """Two outputs with different marks have different bytes and the same pixels."""
    png = edited_png(PHOTO, Plan.of("night", 1, 50, 7))
    one, other = Output(png, mark="a").to_bytes(), Output(png, mark="b").to_bytes()
    assert one != other
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(png)) as plain:
        assert first.info == {"Retouch simulator": "a"}
        assert first.tobytes() == plain.tobytes()


def test_odd_outputs_are_what_they_claim_to_be() -> None:
    """Each output kind has the fault of its name: truncated, flat, same_as_input, html, svg."""
    png = edited_png(PHOTO, Plan.of("night", 1, 50, 7))
    cut = output_of("truncated", png, PHOTO, "m").to_bytes()
    assert png.startswith(cut)
    assert len(cut) < len(png)
    with Image.open(io.BytesIO(output_of("flat", png, PHOTO, "m").to_bytes())) as flat:
        assert flat.size == (512, 512)
        assert len(flat.getcolors() or ()) == 1
    assert output_of("same_as_input", png, PHOTO, "m").to_bytes() == PHOTO
    assert output_of("html", png, PHOTO, "m").to_bytes().startswith(b"<!DOCTYPE html>")
    assert b"<svg" in output_of("svg", png, PHOTO, "m").to_bytes()


def test_the_bomb_is_small_on_the_wire_and_huge_unpacked() -> None:
    """The bomb has less than a megabyte and claims so many pixels that Pillow refuses to open it."""
    bomb = output_of("bomb", b"", PHOTO, "m").to_bytes()
    assert len(bomb) < 1_000_000
    with warnings.catch_warnings(), pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bomb))
