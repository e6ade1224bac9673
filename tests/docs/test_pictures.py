"""The pictures of the console in the documentation: each one is made by `make screenshots`, is there, and is small."""

from __future__ import annotations

import io
import re

from PIL import Image

from tests.browser.screenshots import LARGEST, PICTURES, WIDE
from tests.docs.pages import ROOT

PICTURE = re.compile(r"(?:docs/)?(console-[\w-]+\.(?:webp|png))")


def test_each_picture_is_made_by_the_program() -> None:
    """The pages name exactly the pictures that the program makes, and `docs` has no other pictures."""
    named = {
        name for page in (ROOT / "README.md", ROOT / "docs/console.md") for name in PICTURE.findall(page.read_text())
    }
    kept = {path.name for pattern in ("*.webp", "*.png") for path in (ROOT / "docs").glob(pattern)}
    assert named == set(PICTURES) == kept


def test_pictures_are_wide_and_small() -> None:
    """Each picture is 1440 pixels wide and below 150 kB."""
    for name in PICTURES:
        data = (ROOT / "docs" / name).read_bytes()
        assert len(data) < LARGEST, name
        assert Image.open(io.BytesIO(data)).width == WIDE, name
