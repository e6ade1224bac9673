"""The cost of decoding a file is known before decoding begins, and no decoder gets metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import pytest
from PIL import Image, ImageOps

from retouch.images import validation
from retouch.images.structure import orientation_of, structure_of
from retouch.images.validation import ImageFault, ImageLimits, ValidImage, check, thumbnail
from retouch_worker.edits.images import OUTPUT_LIMITS


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(mode: str = "RGB", side: int = 200) -> Image.Image:
    return Image.effect_noise((side, side), 60).convert(mode)


def segment(marker: int, data: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def scan(first: int = 0, last: int = 0, bits: int = 0x01) -> bytes:
    """
    Return the ten bytes that begin a scan of a JPEG, without image data. A decoder goes over all pixels once for each
    scan.
    """
    return segment(0xDA, bytes([1, 1, 0, first, last, bits]))


def jpeg(scans: bytes, side: int = 1_000, frame: int = 0xC2) -> bytes:
    tables = segment(0xDB, b"\0" + bytes([1] * 64)) + segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    head = segment(frame, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    return b"\xff\xd8" + tables + head + segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0") + scans + b"\xff\xd9"


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG chunk: length, name, data, checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*between: tuple[bytes, bytes], after: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    head = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    chunks = [head, *between, (b"IDAT", zlib.compress(bytes([0, *range(8)]) * 8)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if a decoder is opened."""
    for kind in validation.FORMATS:
        monkeypatch.setitem(validation._READERS, kind, lambda _file: pytest.fail("a decoder was opened"))


def refused(data: bytes, limits: ImageLimits | None = None) -> str:
    judged = check(data, limits or ImageLimits())
    assert isinstance(judged, ImageFault), judged
    assert judged.code == "too_complex"
    return judged.message


@pytest.mark.usefixtures("no_decoder")
def test_many_scans_are_refused_before_decoding() -> None:
    """A JPEG of 8 kB with 700 scans of a megapixel is refused before it is opened, and the message has the numbers."""
    assert refused(jpeg(scan() * 700)) == (
        "expected at most 600 megapixels in all scans of a JPEG, got 700 (700 scans)"
    )


@pytest.mark.usefixtures("no_decoder")
def test_scans_of_tiny_pictures_are_bounded_too() -> None:
    """The number of scans is limited even for a picture of 8 x 8 pixels."""
    assert "expected at most 2000 parts" in refused(jpeg(scan() * 2_001, side=8))


@pytest.mark.usefixtures("no_decoder")
def test_an_end_inside_a_comment_hides_no_scans() -> None:
    """If a comment contains the bytes of the end marker, the scans after it are counted too."""
    assert "(701 scans)" in refused(jpeg(scan() + segment(0xFE, b"\xff\xd9") + scan() * 700))


@pytest.mark.usefixtures("no_decoder")
def test_arithmetic_coding_counts_eight_times() -> None:
    """A scan with arithmetic coding counts as eight scans, since its decoding takes longer."""
    assert "got 640 (80 scans)" in refused(jpeg(scan() * 80, frame=0xCA))


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    "data",
    [
        jpeg(segment(0xFE) * 2_000 + scan()),
        jpeg(segment(0xDB, (b"\0" + bytes([1] * 64)) * 1_000) * 10 + scan()),
        png(*[(b"tEXt", b"a\0b")] * 3_000),
        png(after=[(b"IDAT", b"")] * 3_000),
    ],
    ids=["comments", "tables", "texts", "empty data"],
)
def test_files_of_very_many_parts_are_refused(data: bytes) -> None:
    """A file with thousands of tiny parts is refused before a decoder opens it."""
    assert "parts in the file" in refused(data)


def test_what_follows_the_image_is_not_counted() -> None:
    """Bytes after the end of the picture, such as a film that a phone appends, are not counted."""
    data = saved(noise(), "JPEG", progressive=True)
    assert isinstance(check(data + scan() * 5_000), ValidImage)


def test_what_encoders_make_is_accepted() -> None:
    """Ten scans, as in a progressive JPEG of a real encoder, are within the limit at any accepted size."""
    structure = structure_of(saved(noise(), "JPEG", progressive=True), "JPEG")
    assert structure.scans == 10
    assert 40 * structure.scans < ImageLimits().max_scan_megapixels


def test_outputs_may_cost_more() -> None:
    """A paid image may have four times the scans of an upload, and no more."""
    data = jpeg(scan() * 150, side=2_200)
    assert "(150 scans)" in refused(data)
    assert isinstance(check(data, OUTPUT_LIMITS), ValidImage)
    assert "(600 scans)" in refused(jpeg(scan() * 600, side=2_200), OUTPUT_LIMITS)


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("is_after", [False, True])
def test_metadata_of_a_png_is_never_inflated(name: bytes, is_after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed metadata of a PNG is never decompressed, whether it is before or after the image data."""
    monkeypatch.setattr("PIL.PngImagePlugin._safe_zlib_decompress", lambda _data: pytest.fail("metadata was inflated"))
    method = {b"iCCP": b"k\0\0", b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0"}[name]
    bombs = [(name, method + zlib.compress(bytes(900_000)))] * 20
    assert isinstance(check(png(after=bombs) if is_after else png(*bombs)), ValidImage)


def test_metadata_of_a_jpeg_is_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many segments with EXIF data and comments are removed before a decoder opens the file."""
    monkeypatch.setattr("PIL.JpegImagePlugin.COM", lambda *_: pytest.fail("a comment was parsed"))
    data = saved(noise(), "JPEG")
    many = segment(0xE1, b"Exif\0\0II*\0" + bytes(60_000)) * 50 + segment(0xFE, b"words") * 500
    structure = structure_of(data[:2] + many + data[2:], "JPEG")
    assert structure.data == data
    assert isinstance(check(data[:2] + many + data[2:]), ValidImage)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGBA", {"dpi": (300, 300)}),
        ("PNG", "1", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("JPEG", "L", {"comment": b"words", "icc_profile": bytes(70_000)}),
        ("JPEG", "RGB", {"restart_marker_blocks": 2}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)
def test_no_pixel_changes_without_metadata(kind: str, mode: str, options: dict[str, object]) -> None:
    """The file without metadata decodes to the same pixels as the original."""
    data = saved(noise(mode), kind, **options)
    with Image.open(io.BytesIO(data)) as one, Image.open(io.BytesIO(structure_of(data, kind).data)) as other:
        assert (one.mode, one.size) == (other.mode, other.size)
        assert one.convert("RGBA").tobytes() == other.convert("RGBA").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_made_upright(kind: str, orientation: int) -> None:
    """In each format a thumbnail is turned as Pillow turns a picture with this EXIF orientation."""
    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    image.paste("red", (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(image, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    with Image.open(io.BytesIO(data)) as given, Image.open(io.BytesIO(thumbnail(data, 60))) as small:
        upright = ImageOps.exif_transpose(given).convert("RGB")
        assert small.size == upright.size
        assert red_corners(small.convert("RGB")) == red_corners(upright)


def red_corners(image: Image.Image) -> list[bool]:
    places = [(x, y) for x in (3, image.width - 4) for y in (3, image.height - 4)]
    pixels = [image.getpixel(place) for place in places]
    return [isinstance(pixel, tuple) and pixel[0] > 128 and pixel[1] < 100 for pixel in pixels]


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(20)])
def test_broken_exif_means_upright(exif: bytes) -> None:
    """`orientation_of` returns 1 (upright) for EXIF data that is empty, has no orientation or is broken."""
    assert orientation_of(exif) == 1
