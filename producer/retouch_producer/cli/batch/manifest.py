"""What a batch knows from run to run: for each row its job, and what became of it. One file beside the results."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from retouch_producer.cli.errors import WrongUse
from retouch_producer.cli.output_file import write_atomically

NAME, LOCK = "retouch-batch.json", ".retouch-batch.lock"
_FORMAT = 1
_SAVE_EVERY_S = 0.5


@dataclass(slots=True)
class Entry:
    """
    One row's fate. `state` is `planned` (about to be enqueued), `open`, `saved` or `failed`.

    `round` counts how often the row was put in anew because its job was gone; `link` is what the endpoint was told for
    a local picture, so that a repeated request is the same one. `more` holds the files of further images, with their
    sizes in bytes.
    """

    state: str = "planned"
    planned_at: float = 0.0
    round: int = 0
    link: str = ""
    job: str = ""
    file: str = ""
    bytes: int = 0
    more: dict[str, int] = field(default_factory=dict)
    code: str = ""
    message: str = ""

    def fail(self, code: str, message: str) -> None:
        """Put down that the row has no result."""
        self.state, self.code, self.message = "failed", code, message


class Manifest:
    """
    The entries by row key, written whole each time: a process that is killed leaves the last good one.

    Failure policy: a row is written down before it is enqueued and its job after; what a killed run did in between is
    found again by the row's idempotency key.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.entries: dict[str, Entry] = self._read()
        self._saved_at = 0.0

    def _read(self) -> dict[str, Entry]:
        try:
            rows = json.loads(self.path.read_text())["rows"]
            return {key: Entry(**entry) for key, entry in rows.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise WrongUse(
                f"{str(self.path)!r} is no manifest of `retouch batch`; put it away; rows enqueued in the "
                "last 24 h are recognised all the same"
            ) from None

    def save(self) -> None:
        """Write all entries, in one step."""
        rows = {key: {n: v for n, v in asdict(entry).items() if v} for key, entry in self.entries.items()}
        write_atomically(self.path, json.dumps({"format": _FORMAT, "rows": rows}).encode())
        self._saved_at = time.monotonic()

    def save_sometimes(self) -> None:
        """Write, unless that was done half a second ago: what is not written yet is found again by the next run."""
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.save()


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Make the folder of results and hold it: two batches at once would save the same rows."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise WrongUse(f"--out: {str(folder)!r} cannot be used: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WrongUse(f"--out: another `retouch batch` works on {str(folder)!r}") from None
        yield
