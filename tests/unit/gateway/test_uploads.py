"""Which part of an uploaded form is the file, and which forms are accepted."""

from __future__ import annotations

import tempfile

import pytest

from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.routes.uploads import _file_in_form

KIND = "multipart/form-data; boundary=x"
END = b"--x--\r\n"


def part(disposition: bytes, content: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + content + b"\r\n"


def test_the_first_file_is_taken() -> None:
    """
    The first file of a form is returned, even if a field comes before it. A field with the name `filename` is not a
    file.
    """
    form = part(b'name="filename"', b"a field") + part(b'name="a"; filename="a.png"', b"first")
    assert _file_in_form(form + part(b'name="b"; filename="b.png"', b"second") + END, KIND) == b"first"


def test_a_large_file_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file is parsed without a temporary file, since the disk of the container is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    content = bytes(3_000_000)
    assert _file_in_form(part(b'name="a"; filename="a.png"', content) + END, KIND) == content


@pytest.mark.parametrize("count", [100, 101])
def test_parts_are_counted(count: int) -> None:
    """A form with a hundred parts is accepted; a form with more is refused as malformed-body."""
    form = part(b'name="a"; filename="a.png"', b"first") + part(b'name="n"', b"") * (count - 1) + END
    if count == 100:
        assert _file_in_form(form, KIND) == b"first"
    else:
        with pytest.raises(ProblemError, match="malformed-body"):
            _file_in_form(form, KIND)


@pytest.mark.parametrize("headers", [b"X: y\r\n" * 9, b"X: " + b"y" * 5_000 + b"\r\n"])
def test_headers_of_a_part_are_bounded(headers: bytes) -> None:
    """A part with nine headers, or with a header of 5,000 bytes, is refused as malformed-body."""
    with pytest.raises(ProblemError, match="malformed-body"):
        _file_in_form(b"--x\r\n" + headers + b"\r\nz\r\n" + END, KIND)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300])
def test_a_form_needs_a_boundary(kind: str) -> None:
    """A form whose content type has no boundary, or a boundary that is too long, is refused."""
    with pytest.raises(ProblemError, match="malformed-body"):
        _file_in_form(part(b'name="a"; filename="a.png"', b"first") + END, kind)


def test_a_form_that_was_cut_has_no_file() -> None:
    """A form whose end is missing is refused."""
    with pytest.raises(ProblemError, match="invalid-request"):
        _file_in_form(part(b'name="a"; filename="a.png"', b"first"), KIND)
