"""
Reads the chunks of a PNG file or the segments of a JPEG file, before anything is decoded.

A header shows the number of pixels, but not the work of decoding them. A JPEG of 100 kB may have thousands of scans,
each of which covers all pixels. The colour profile of a PNG may grow a thousand times when it is inflated. Therefore
scans are counted first, and the decoder gets the file without metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

_MARKER: Final = re.compile(
    rb"\xff[\xc0-\xcf\xd8-\xfe]"
)  # without stuffed bytes and restart markers, which are part of a scan
_WINDOW_BYTES = 1_000_000  # bytes for one search, which holds the interpreter lock: for some ms if they are hostile
_SOI, _EOI, _SOS, _EXIF_SEGMENT = 0xD8, 0xD9, 0xDA, 0xE1
_NO_FRAMES: Final = (0xC4, 0xC8, 0xCC)
_JPEG_TABLES: Final = {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}
_JPEG_SEGMENTS_MOST = 2_000
_TABLE_BYTES = 256  # a longer segment counts as several: Pillow reads these in Python, which is slow
_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_PNG_CHUNKS_MOST, _PNG_BYTES_A_CHUNK = 1_000, 1_000
_ARITHMETIC_COUNTS = 8
_IFD_ENTRIES_MOST = 1_000
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Structure:
    """
    The cost of decoding a file.

    `data` is the file without metadata, and `exif` is its EXIF block, or empty. `parts` is the number of chunks or
    segments; above `parts_most`, counting stops and the file is refused. `scan_megapixels` is the work of decoding a
    JPEG: the number of scans multiplied by the megapixels. With arithmetic coding, the work counts 8 times.
    """

    data: bytes
    parts: int = 0
    parts_most: int = 0
    scans: int = 0
    scan_megapixels: float = 0.0
    exif: bytes = b""


def structure_of(data: bytes, kind: str) -> Structure:
    """Return the structure of a PNG, JPEG or WEBP file. Broken files are found by the decoder and not here."""
    if kind == "PNG":
        return _structure_of_png(data)
    if kind == "JPEG":
        return _structure_of_jpeg(data)
    return Structure(data)  # libwebp does not parse metadata


def orientation_of(exif: bytes) -> int:
    """Return the EXIF orientation, from 1 to 8; 1 if the block has none."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    directory = int.from_bytes(tiff[4:8], order)
    entries = min(int.from_bytes(tiff[directory : directory + 2], order), _IFD_ENTRIES_MOST)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        if int.from_bytes(tiff[at : at + 2], order) == _ORIENTATION:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _structure_of_png(data: bytes) -> Structure:
    kept, at, chunks, exif = [data[:8]], 8, 0, b""
    most = _PNG_CHUNKS_MOST + len(data) // _PNG_BYTES_A_CHUNK
    name = b""
    while name != b"IEND" and at < len(data) and chunks <= most:
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        chunks += 1
        if name in _PNG_KEPT:
            kept.append(data[at:end])
        elif name == b"eXIf":
            exif = data[at + 8 : end - 4]
        at = end
    return Structure(b"".join(kept), chunks, most, exif=exif)


def _structure_of_jpeg(data: bytes) -> Structure:
    kept, at, segments, pixels, exif, weight = [data[:2]], 2, 0, 0, b"", 1
    while segments <= _JPEG_SEGMENTS_MOST and (start := _next_marker(data, at)) >= 0:
        marker, at = data[start + 1], start + 2 + int.from_bytes(data[start + 2 : start + 4])
        segments += 1
        if marker == _SOS:
            scans, more = _scans_of(data, start)
            work = scans * weight * pixels / 1e6
            return Structure(b"".join([*kept, data[start:]]), segments + more, _JPEG_SEGMENTS_MOST, scans, work, exif)
        if marker in (_SOI, _EOI):
            break
        is_frame = 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES
        if is_frame:
            height, width = data[start + 5 : start + 7], data[start + 7 : start + 9]
            pixels = max(pixels, int.from_bytes(height) * int.from_bytes(width))
            weight = _ARITHMETIC_COUNTS if marker > _NO_FRAMES[1] else weight
        if is_frame or marker in _JPEG_TABLES:
            kept.append(data[start:at])
            segments += (at - start) // _TABLE_BYTES
        elif marker == _EXIF_SEGMENT and data[start + 4 : start + 10] == b"Exif\0\0":
            exif = exif or data[start + 4 : at]
    return Structure(b"".join(kept), segments, _JPEG_SEGMENTS_MOST)


def _scans_of(data: bytes, at: int) -> tuple[int, int]:
    """Return (number of scans, number of segments) from the first scan, at `at`, to the end of the image."""
    scans = segments = 0
    while segments <= _JPEG_SEGMENTS_MOST and (start := _next_marker(data, at)) >= 0:
        marker, at = data[start + 1], start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if marker == _EOI:
            break
        scans, segments = scans + (marker == _SOS), segments + 1
    return scans, segments


def _next_marker(data: bytes, at: int) -> int:
    """Return the position of the first marker from `at` on, or -1."""
    while at < len(data):
        if found := _MARKER.search(data, at, at + _WINDOW_BYTES + 1):
            return found.start()
        at += _WINDOW_BYTES
    return -1
