"""Where an image is saved: never over a file that nobody named, never half."""

from __future__ import annotations

import os
import re
import secrets
from itertools import count
from pathlib import Path

from retouch.handles import EditResult
from retouch_producer.cli.errors import WrongUse

SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_UNSAFE = re.compile(r"[^\w.-]+")


def check_target(out: Path | None) -> None:
    """Refuse a file that could not be written, before anything is paid for."""
    if out is None:
        return
    if out.is_dir():
        raise WrongUse(f"--out: expected a file, {str(out)!r} is a folder")
    if not os.access(out.parent, os.W_OK):
        raise WrongUse(f"--out: folder {str(out.parent)!r} does not exist or may not be written")


def save(result: EditResult, out: Path | None, stem: str) -> list[Path]:
    """
    Write the image to `out`, or to `<stem>-edited.<format>` in the working folder, and return its path.

    Where the job has several, the others follow under names that nothing has yet: `<out>-2.<format>` and so on.
    """
    target = out or free_path(Path.cwd(), f"{safe_name(stem)}-edited", SUFFIXES[result.format])
    write_atomically(target, result.image)
    paths = [target]
    for image_result in result.results[1:]:
        paths.append(free_path(target.parent, target.stem, SUFFIXES[image_result.format], first=2))
        write_atomically(paths[-1], image_result.image)
    return paths


def free_path(folder: Path, stem: str, suffix: str, first: int = 1) -> Path:
    """Return a path that nothing has yet: `stem.suffix`, else `stem-2.suffix` and so on, from number `first` on."""
    names = (f"{stem}.{suffix}" if number == 1 else f"{stem}-{number}.{suffix}" for number in count(first))
    return next(path for name in names if not (path := folder / name).exists())


def safe_name(text: str, most: int = 80) -> str:
    """Make a file name of any text: letters, digits, dots and dashes, never hidden, never empty."""
    return _UNSAFE.sub("_", text).strip("._")[:most] or "image"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for a part of it."""
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WrongUse(f"{str(path)!r} could not be written: {error.strerror}") from error
