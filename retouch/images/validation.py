"""
Checks whether bytes are a whole image. The endpoint also sends HTML pages, half files and blank images with status 200.

First the magic bytes are checked, then the structure of the file. Then the Pillow reader for this one format opens the
file, without metadata. Limits on bytes, parts, scans, pixels and frames are checked before anything is decoded. At last
the file is decoded to its end, since its header does not show whether the rest is there. Servers hold a turn of the
[decoding limiter](../egress/fair_limiter.py) during a check.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from retouch.images.structure import Structure, orientation_of, structure_of

FORMATS: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
"""Pillow's name of each accepted format → the suffix of its files."""

_READERS: Final[dict[str, Callable[[io.BytesIO], ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
}
_BOMB: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → the operation that turns the picture upright."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """
    The limits of an accepted image. A megapixel is a million pixels; more than one frame is an animation.

    `max_scan_megapixels` bounds the number of scans of a JPEG multiplied by its megapixels. The default allows 15 scans
    at 40 megapixels, and encoders make about 10 scans. Each scan takes up to 2 ms for a megapixel.
    """

    max_bytes: int = 50_000_000
    max_megapixels: float = 40.0
    max_frames: int = 1
    max_scan_megapixels: float = 600.0


@dataclass(frozen=True, slots=True)
class ValidImage:
    """
    An image that could be decoded to its end. `format` is PNG, JPEG or WEBP; `bytes` is the size of the file.

    `warnings` may contain `flat_colour`: all pixels are the same, as in the endpoint's blank images.
    """

    format: str
    width: int
    height: int
    bytes: int
    sha256: str
    warnings: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """Return the suffix of the file, without a dot."""
        return FORMATS[self.format]


@dataclass(frozen=True, slots=True)
class ImageFault:
    """
    The reason why bytes are not an acceptable image.

    `code` is too_large, not_an_image, too_many_pixels, too_many_frames, too_complex or broken; `message` contains the
    value and the limit.
    """

    code: str
    message: str


def check(data: bytes, limits: ImageLimits = ImageLimits()) -> ValidImage | ImageFault:
    """
    Decode an image; return the facts about it, or a fault if it is not whole or exceeds `limits`.

    Decoding takes 5 to 40 ms for each megapixel.
    """
    if len(data) > limits.max_bytes:
        return ImageFault("too_large", f"expected at most {limits.max_bytes} bytes, got {len(data)}")
    kind = kind_of(data)
    if kind not in FORMATS:
        return ImageFault("not_an_image", f"expected a PNG, JPEG or WebP image, got {kind}")
    try:
        structure = structure_of(data, kind)
        if fault := _fault_of_structure(structure, limits):
            return fault
        with _READERS[kind](io.BytesIO(structure.data)) as image:
            return _fault_of_head(image, limits) or _decoded(image, kind, data, structure)
    except _BOMB:  # some of Pillow's readers check the number of pixels before we can read it
        return ImageFault("too_many_pixels", f"expected at most {limits.max_megapixels:g} megapixels, got far more")
    except Exception as error:  # noqa: BLE001 - Pillow raises dozens of classes, and no picture may raise into an attempt
        return ImageFault("broken", f"expected a whole {kind} image, got a broken one ({type(error).__name__})")


def kind_of(data: bytes) -> str:
    """Return the kind of a file by its first bytes: PNG, JPEG or WEBP, or a short description of any other kind."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return _name_of_other(data)


def thumbnail(data: bytes, size: int = 256) -> bytes:
    """
    Return a WebP thumbnail of at most `size` by `size` pixels, turned upright by the EXIF orientation of the image.

    `data` must be bytes that `check` accepted; other bytes raise `ValueError`.
    """
    kind = kind_of(data)
    if kind not in FORMATS:
        raise ValueError(f"expected a PNG, JPEG or WebP image, got {kind}")
    try:
        structure = structure_of(data, kind)
        with _READERS[kind](io.BytesIO(structure.data)) as image:
            exif = structure.exif or image.info.get("exif", b"")
            # A JPEG is decoded at a fraction of its size, and still larger than the thumbnail, which keeps it sharp.
            image.draft("RGB", (size * 2, size * 2))
            small = _eight_bit(image)
            small.thumbnail((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
            upright = _upright(small, orientation_of(exif))
            out = io.BytesIO()
            upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(out, "WEBP", quality=80)
            return out.getvalue()
    except Exception as error:
        raise ValueError(f"expected a whole {kind} image, got a broken one") from error


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits for each channel."""
    if not image.mode.startswith("I;16"):
        return image
    # Scaled here, since Pillow clips 16-bit grey when it converts, which turns almost everything white.
    return image.convert("I").point([value >> 8 for value in range(65_536)], "L")


def _name_of_other(data: bytes) -> str:
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\0").lower()
    if not data:
        return "nothing (0 bytes)"
    if start.startswith(b"<"):
        return "an SVG" if b"<svg" in start else "an HTML page" if b"<html" in start or b"<!doctype" in start else "XML"
    if start.startswith((b"{", b"[")):
        return "JSON"
    names = {b"GIF8": "a GIF", b"BM": "a BMP", b"%PDF": "a PDF", b"II*\0": "a TIFF", b"MM\0*": "a TIFF"}
    return next((name for magic, name in names.items() if data.startswith(magic)), "bytes of no known image format")


def _fault_of_structure(structure: Structure, limits: ImageLimits) -> ImageFault | None:
    if structure.parts > structure.parts_most:
        return ImageFault("too_complex", f"expected at most {structure.parts_most} parts in the file, got more")
    if structure.scan_megapixels > limits.max_scan_megapixels:
        most = f"expected at most {limits.max_scan_megapixels:g} megapixels in all scans of a JPEG"
        return ImageFault("too_complex", f"{most}, got {structure.scan_megapixels:.0f} ({structure.scans} scans)")
    return None


def _fault_of_head(image: ImageFile, limits: ImageLimits) -> ImageFault | None:
    megapixels = image.width * image.height / 1e6
    if megapixels > limits.max_megapixels:
        most = f"expected at most {limits.max_megapixels:g} megapixels"
        return ImageFault("too_many_pixels", f"{most}, got {megapixels:.1f} ({image.width} x {image.height})")
    frames = int(getattr(image, "n_frames", 1))
    if frames > limits.max_frames:
        return ImageFault("too_many_frames", f"expected at most {limits.max_frames} frame(s), got {frames}")
    return None


def _decoded(image: ImageFile, kind: str, data: bytes, structure: Structure) -> ValidImage:
    width, height = image.size
    # A JPEG is decoded at an eighth of its size, which also reads every byte and takes much less time.
    image.draft("L", (max(width // 8, 1), max(height // 8, 1)))
    image.load()
    flat = _is_flat(image)
    if flat and kind == "JPEG":  # at an eighth, pixels are averages, so the whole image must show it too
        with JpegImageFile(io.BytesIO(structure.data)) as whole:
            flat = _is_flat(whole)
    digest = hashlib.sha256(data).hexdigest()
    return ValidImage(kind, width, height, len(data), digest, ("flat_colour",) if flat else ())


def _is_flat(image: Image.Image) -> bool:
    extremes = image.getextrema()
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(low == high for low, high in bands)
