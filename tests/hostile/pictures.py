"""Pictures that cost much more to decode than to send."""

from __future__ import annotations

import io
import random

from PIL import Image

_SOS = b"\xff\xda"


def big_png(rng: random.Random, megabytes: float = 49.0) -> bytes:
    """Return a PNG of noise with a size of `megabytes` MB."""
    side = int((megabytes * 1e6 / 3) ** 0.5)
    noise = Image.frombytes("RGB", (side, side), rng.randbytes(side * side * 3))
    return _saved(noise, "PNG", compress_level=0)


def many_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG of one colour whose last scan is repeated `scans` times."""
    plain = _saved(Image.new("RGB", (side, side), (90, 120, 60)), "JPEG", progressive=True)
    last = plain.rindex(_SOS)
    scan = plain[last:-2]
    return plain[:-2] + scan * scans + plain[-2:]


def small_png(rng: random.Random) -> bytes:
    """Return a PNG of noise that is quick to decode."""
    return _saved(Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3)), "PNG")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
