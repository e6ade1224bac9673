"""Bytes that claim to be an image are accepted, or refused with a message. Accepted images have thumbnails."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from retouch.blobs import BlobMissing, open_blobs
from retouch.images import thumbnails, validation
from retouch.images.thumbnails import thumbnail_of
from retouch.images.validation import ImageFault, ImageLimits, ValidImage, check, kind_of, thumbnail


def drawing(mode: str = "RGB", size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a picture with edges, a gradient and some texture."""
    image = Image.effect_noise(size, 40).convert("RGB")
    ImageDraw.Draw(image).ellipse((20, 20, 200, 160), fill=(200, 30, 60))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """Return a tiny PNG whose header claims this width and height."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def fault(data: bytes, limits: ImageLimits | None = None) -> ImageFault:
    judged = check(data, limits or ImageLimits())
    assert isinstance(judged, ImageFault)
    return judged


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "L", {}),
        ("PNG", "1", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "RGB", {"quality": 85}),
        ("JPEG", "RGB", {"quality": 85, "progressive": True}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)
def test_every_kind_of_good_image_is_accepted(kind: str, mode: str, options: dict[str, object]) -> None:
    """An image in each format and colour mode is accepted with its size and hash, and has a thumbnail."""
    image = (
        drawing("L").convert("I").point(lambda value: value * 200).convert(mode) if mode == "I;16" else drawing(mode)
    )
    data = saved(image, kind, **options)
    digest = hashlib.sha256(data).hexdigest()
    assert check(data) == ValidImage(kind, 320, 240, len(data), digest, ())
    with Image.open(io.BytesIO(thumbnail(data, 64))) as small:
        assert (small.format, small.size) == ("WEBP", (64, 48))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "got nothing (0 bytes)"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "got an SVG"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "got an SVG"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html><html>", "got an HTML page"),
        (b"<html><body>502 Bad Gateway", "got an HTML page"),
        (b"<Error><Code>AccessDenied</Code>", "got XML"),
        (b'{"status":"error"}', "got JSON"),
        (b"%PDF-1.7", "got a PDF"),
        (saved(drawing(), "GIF"), "got a GIF"),
        (saved(drawing(), "BMP"), "got a BMP"),
        (saved(drawing(), "TIFF"), "got a TIFF"),
        (b"\0" * 100, "bytes of no known image format"),
        (b"RIFF\0\0\0\0WAVE", "bytes of no known image format"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    """Pages, vector images and other formats are refused, and the message names the format that was found."""
    found = fault(data)
    assert found.code == "not_an_image"
    assert words in found.message
    assert "expected a PNG, JPEG or WebP image" in found.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_half_an_image_is_broken(kind: str, share: float) -> None:
    """A file whose end is missing is refused as broken, although its header is complete."""
    data = saved(drawing(), kind)
    assert fault(data[: int(len(data) * share)]).code == "broken"


def test_half_a_progressive_jpeg_is_broken() -> None:
    """A progressive JPEG whose last scans are missing is refused as broken, although Pillow could decode it."""
    data = saved(drawing(), "JPEG", progressive=True)
    assert fault(data[: len(data) * 3 // 4]).code == "broken"


def test_pixels_are_counted_before_decoding() -> None:
    """A small PNG whose header claims 200 megapixels is refused, and the message has the limit and the size."""
    assert fault(png_that_says(20_000, 10_000)) == ImageFault(
        "too_many_pixels", "expected at most 40 megapixels, got 200.0 (20000 x 10000)"
    )
    assert fault(png_that_says(2**31 - 1, 2**31 - 1)).code == "too_many_pixels"


@pytest.mark.parametrize("side", [10_000, 16_383])
def test_a_bomb_is_too_many_pixels(side: int) -> None:
    """A WebP of 34 bytes that claims very many pixels is refused as too_many_pixels."""
    size = struct.pack("<I", (side - 1) | (side - 1) << 14)
    data = b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<I", 14) + b"\x2f" + size + bytes(9)
    assert fault(data).code == "too_many_pixels"


def test_what_no_reader_foresaw_is_a_broken_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a reader of Pillow raises an unknown error, `check` returns the fault `broken` and does not raise."""
    monkeypatch.setitem(validation._READERS, "PNG", lambda _: 1 / 0)
    broken = fault(saved(Image.new("L", (2, 2)), "PNG"))
    assert (broken.code, "ZeroDivisionError" in broken.message) == ("broken", True)


def test_pixel_limit_is_exact() -> None:
    """An image with exactly the allowed pixels is accepted; an image with one row more is refused."""
    limits = ImageLimits(max_megapixels=0.0768)
    assert isinstance(check(saved(drawing(), "PNG"), limits), ValidImage)
    assert "got 0.1 (320 x 241)" in fault(saved(drawing(size=(320, 241)), "PNG"), limits).message


def test_bytes_are_counted_first() -> None:
    """A file above the byte limit is refused without a look at its content."""
    assert fault(b"<" * 11, ImageLimits(max_bytes=10)) == ImageFault("too_large", "expected at most 10 bytes, got 11")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    """An image of two frames is refused, unless the limits allow two frames."""
    frames = [drawing(size=(32, 32)), Image.new("RGB", (32, 32), "red")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert fault(data) == ImageFault("too_many_frames", "expected at most 1 frame(s), got 2")
    assert isinstance(check(data, ImageLimits(max_frames=2)), ValidImage)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_flat_colour_is_a_warning(kind: str, mode: str) -> None:
    """An image of one colour is accepted with the warning `flat_colour`."""
    judged = check(saved(Image.new(mode, (256, 256), "black"), kind))
    assert isinstance(judged, ValidImage)
    assert judged.warnings == ("flat_colour",)


def test_a_jpeg_that_is_flat_only_in_brightness_is_not_flat() -> None:
    """A JPEG with two colours of equal brightness is not flat, so it has no warning."""
    image = Image.new("YCbCr", (256, 256), (128, 128, 128))
    image.paste((128, 200, 60), (0, 0, 128, 256))
    judged = check(saved(image.convert("RGB"), "JPEG", quality=95, subsampling=0))
    assert isinstance(judged, ValidImage)
    assert judged.warnings == ()


def test_one_dot_is_not_flat() -> None:
    """A PNG with a single pixel of another colour has no warning."""
    image = Image.new("RGB", (64, 64), "white")
    image.putpixel((63, 63), (254, 255, 255))
    judged = check(saved(image, "PNG"))
    assert isinstance(judged, ValidImage)
    assert judged.warnings == ()


def test_thumbnails_stand_upright() -> None:
    """A thumbnail is turned by the EXIF orientation of the picture, and has no EXIF data itself."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    data = saved(drawing(), "JPEG", exif=exif)
    with Image.open(io.BytesIO(thumbnail(data, 100))) as small:
        assert small.size == (75, 100)
        assert not small.getexif()


def test_thumbnails_keep_transparency() -> None:
    """The thumbnail of a transparent picture has an alpha channel."""
    with Image.open(io.BytesIO(thumbnail(saved(Image.new("RGBA", (50, 50)), "PNG")))) as small:
        assert small.mode == "RGBA"


def test_thumbnails_of_16_bit_grey_keep_their_brightness() -> None:
    """In the thumbnail of a 16-bit picture, half of 65,535 becomes half of 255."""
    with Image.open(io.BytesIO(thumbnail(saved(Image.new("I;16", (50, 50), 32_768), "PNG")))) as small:
        assert small.convert("L").getpixel((25, 25)) == pytest.approx(128, abs=4)


@pytest.mark.parametrize("data", [b"<html>", saved(drawing(), "PNG")[:500]])
def test_no_thumbnail_of_what_is_no_image(data: bytes) -> None:
    """If the bytes are no whole image, `thumbnail` raises ValueError, which names the expected format."""
    with pytest.raises(ValueError, match="expected a"):
        thumbnail(data)


def test_thumbnails_are_made_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request for a thumbnail decodes nothing and returns the same name."""
    blobs = open_blobs(tmp_path_factory.mktemp("blobs").as_uri(), "http://gateway")
    name = blobs.put(saved(drawing(), "PNG"), "png")
    small = thumbnail_of(blobs, name, nullcontext())
    assert small == name.replace(".png", ".thumb.webp")
    assert kind_of(blobs.get(small)) == "WEBP"
    monkeypatch.setattr(thumbnails, "thumbnail", lambda _data: pytest.fail("decoded again"))
    assert thumbnail_of(blobs, name, nullcontext()) == small


def test_no_thumbnail_of_a_missing_blob(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`thumbnail_of` raises BlobMissing for a blob that was never stored."""
    blobs = open_blobs(tmp_path_factory.mktemp("blobs").as_uri(), "http://gateway")
    with pytest.raises(BlobMissing):
        thumbnail_of(blobs, f"ab/ab{'0' * 62}.png", nullcontext())


@settings(max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.integers(0, 5_000), st.binary(min_size=1, max_size=40))
def test_damaged_files_never_raise(kind: str, at: int, junk: bytes) -> None:
    """If any bytes of a file are overwritten, `check` still returns a ValidImage or an ImageFault."""
    data = saved(Image.linear_gradient("L").resize((64, 64)), kind)
    at %= len(data)
    assert isinstance(check(data[:at] + junk + data[at + len(junk) :]), ValidImage | ImageFault)
