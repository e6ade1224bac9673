"""Saves images, each as a whole or not at all. A file is overwritten only if `--out` names it."""

from __future__ import annotations

import os
import re
import secrets
from itertools import count
from pathlib import Path

from retouch.handles import EditResult
from retouch_producer.cli.errors import UsageError

SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_UNSAFE = re.compile(r"[^\w.-]+")


def check_target(out: Path | None) -> None:
    """Raise `UsageError` if no file can be written at `out`. Call this before anything is paid."""
    if out is None:
        return
    if out.is_dir():
        raise UsageError(f"--out: expected a file, got the folder {str(out)!r}")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out: folder {str(out.parent)!r} does not exist or is not writable")


def save(result: EditResult, out: Path | None, stem: str) -> list[Path]:
    """
    Write the images of a job to files, and return the paths.

    The first image goes to `out`. If `out` is None, it goes to `<stem>-edited.<format>` in the working folder, or to
    the next unused name. Further images go to unused names: `<out>-2.<format>` and so on.
    """
    target = out or free_path(Path.cwd(), f"{safe_name(stem)}-edited", SUFFIXES[result.format])
    write_atomically(target, result.image)
    paths = [target]
    for image_result in result.results[1:]:
        paths.append(free_path(target.parent, target.stem, SUFFIXES[image_result.format], first=2))
        write_atomically(paths[-1], image_result.image)
    return paths


def free_path(folder: Path, stem: str, suffix: str, first: int = 1) -> Path:
    """
    Return the first path that does not exist: `stem.suffix`, `stem-2.suffix` and so on, beginning with number `first`.
    """
    names = (f"{stem}.{suffix}" if number == 1 else f"{stem}-{number}.{suffix}" for number in count(first))
    return next(path for name in names if not (path := folder / name).exists())


def safe_name(text: str, most: int = 80) -> str:
    """
    Return a file name made from a text: at most `most` letters, digits, `_`, dots and dashes.

    The name is never empty and never begins with a dot.
    """
    return _UNSAFE.sub("_", text).strip("._")[:most] or "image"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that `path` never holds a part of the data."""
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            # Without fsync, a crash of the machine could leave an empty file under the final name.
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{str(path)!r} could not be written: {error.strerror}") from error
