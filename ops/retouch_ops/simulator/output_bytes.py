"""
The bytes that an output link serves, for each output kind.

The bytes of the kinds `flat` and `bomb` are cached, because tests download them many times.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image

from retouch_ops.simulator.answers import page
from retouch_ops.simulator.config import OutputKind
from retouch_ops.simulator.effects import Plan, apply

LONGEST_SIDE = 1024
MOST_PIXELS = 60_000_000
_PNG_HEAD = 33  # the signature and the IHDR chunk
_BOMB_SIDE = 20_000


class UnreadableImage(ValueError):
    """The bytes of init_image are no picture that Pillow can read within the limits."""


@dataclass(frozen=True, eq=False)
class Output:
    """The content of one output link. `mark` is put into a PNG so that equal edits of two requests differ."""

    content: bytes
    media_type: str = "image/png"
    mark: str = ""

    def to_bytes(self) -> bytes:
        """Return the bytes to send: the content, with the mark as a text chunk."""
        if not self.mark:
            return self.content
        chunk = _chunk(b"tEXt", b"Retouch simulator\0" + self.mark.encode("ascii"))
        return self.content[:_PNG_HEAD] + chunk + self.content[_PNG_HEAD:]


def edited_png(source: bytes, plan: Plan) -> bytes:
    """
    Return an edited picture as a PNG of at most `LONGEST_SIDE` pixels a side.

    Raises `UnreadableImage` if the bytes are no picture, or if the picture has too many pixels.
    """
    picture = _open(source)
    stream = io.BytesIO()
    apply(plan, picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def output_of(kind: OutputKind, edited: bytes, source: bytes, mark: str) -> Output:
    """
    Return the output to serve for an output kind.

    `edited` is the edit as a PNG, and `source` has the bytes of init_image. `mark` is put into an output of kind `png`
    only.
    """
    if kind == "png":
        return Output(edited, mark=mark)
    if kind == "truncated":
        return Output(edited[: len(edited) // 2])
    if kind == "same_as_input":
        return Output(source, _media_type(source))
    if kind == "flat":
        return Output(_flat(_size(edited)))
    if kind == "bomb":
        return Output(_bomb())
    if kind == "svg":
        return Output(_SVG, "image/svg+xml")
    return Output(bytes(page("Object is not ready", 200).body), "text/html; charset=utf-8")


_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="512" height="512"><!-- Retouch simulator -->'
    b'<rect width="512" height="512" fill="teal"/></svg>'
)


def _open(source: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(source)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UnreadableImage
            picture.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            converted = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage("init_image is no readable picture") from error
    converted.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return converted


def _size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _media_type(source: bytes) -> str:
    with Image.open(io.BytesIO(source)) as picture:
        return picture.get_format_mimetype() or "application/octet-stream"


@functools.lru_cache(maxsize=16)
def _flat(size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (12, 12, 12)).save(stream, "PNG")
    return stream.getvalue()


@functools.lru_cache(maxsize=1)
def _bomb() -> bytes:
    """Return a small PNG that unpacks to 400 megapixels."""
    head = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 1, 0, 0, 0, 0)
    row = bytes(1 + _BOMB_SIDE // 8)
    compressed = zlib.compress(row * _BOMB_SIDE, 1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", compressed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
